"""Train the course's text-to-image model and its judge; writes data/checkpoints.

    python tools/train_emoji.py                 # every part, in this order
    python tools/train_emoji.py vae text judge unet

Each part can be stopped; the same command goes on. A part that is done is written to
data/checkpoints as float16, and the U-Net is trained with the VAE and the text encoder that it
finds there. Later rounds begin with the weights that are there:

    python tools/train_emoji.py vae --round 2
    python tools/train_emoji.py unet --round 2

Two processes with one thread each train a third faster on two cores than one with two threads:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 tools/train_emoji.py unet --round 2

Only the train split is used. Checkpoints are kept in build/emoji.
"""

import argparse
import os
from pathlib import Path

import torch
from torch import nn

from sdlearn.clip import Tokenizer, contrastive_loss
from sdlearn.data import load_emoji, to_tensor
from sdlearn.diffusion import training_loss
from sdlearn.judge import Judge, prompt_accuracy
from sdlearn.metrics import psnr
from sdlearn.pipeline import NETWORKS, TextToImage
from sdlearn.runtime import seed_everything
from sdlearn.schedule import NoiseSchedule
from sdlearn.train import train
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL
from sdlearn.vae_loss import autoencoder_loss
from sdlearn.weights import read_part, write_part

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "emoji"
CHECKPOINTS = ROOT / "data" / "checkpoints"
EMOJI = CHECKPOINTS / "emoji"
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [16, 32, 64],
    "down_block_types": 3 * ["DownEncoderBlock2D"],
    "up_block_types": 3 * ["UpDecoderBlock2D"],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 64,
}


TEXT = {
    "model_type": "clip_text_model",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "hidden_act": "quick_gelu",
}
TOWER = {"width": 128, "layers": 2, "heads": 4, "size": 32}
# The judge is another network, of another size, with a vocabulary of its own, trained apart.
JUDGE_TEXT = {**TEXT, "hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 2}
JUDGE_TOWER = {"width": 160, "layers": 2, "heads": 5, "size": 48}


def every(steps, text):
    """A callback that prints a line every so many steps."""

    def callback(run):
        if run.rank == 0 and (run.step % steps == 0 or run.finished):
            print(f"{run.step}: loss {run.loss:.4f}, {run.seconds:.0f} s, {text(run)}", flush=True)

    return callback


@torch.no_grad()
def psnr_of(vae, x):
    """Mean PSNR in dB of pictures that went through the autoencoder."""
    return torch.cat([psnr(vae(part), part) for part in x.split(64)]).mean().item()


def train_vae(steps=None, round=1):
    """Pictures of 64 × 64 to latents of 4 × 16 × 16 and back.

    The first round is without the colour term, and turns green things brown; the second mends it.
    """
    seed_everything(round - 1)
    vae = AutoencoderKL.from_config(VAE) if round == 1 else begun("vae")
    x = to_tensor(load_emoji("train"))
    held_out = to_tensor(load_emoji("test_pair"))[::3]
    run = train(
        vae,
        torch.cat([x, x.flip(-1)]),
        autoencoder_loss(colour=0.0 if round == 1 else 2.0),
        folder=BUILD / ("vae" if round == 1 else f"vae-{round}"),
        steps=steps or (3000 if round == 1 else 1200),
        batch_size=8,
        lr=2e-3,
        ema=0.999 if round == 1 else 0.998,
        callback=every(250, lambda run: f"PSNR {psnr_of(run.ema, held_out):.2f} dB"),
        every=250,
    )
    vae = run.ema.eval()
    scale = scaling_factor(vae)
    vae.config["scaling_factor"] = scale
    write_part(EMOJI, "vae", vae, half=True)
    print(f"PSNR {psnr_of(vae, held_out):.2f} dB, scaling factor {scale}")


def begun(name):
    """A network of data/checkpoints/emoji, to be trained further."""
    return read_part(EMOJI, name, NETWORKS[name]).requires_grad_(True).train()


@torch.no_grad()
def in_parts(function, x, size=256):
    return torch.cat([function(part) for part in x.split(size)])


def scaling_factor(vae):
    """1 over the spread of the latents of the train split."""
    latents = in_parts(lambda x: vae.encode(x).mode(), to_tensor(load_emoji("train")))
    return round(1 / latents.std().item(), 4)


def jitter(x, generator):
    """Pictures [B, 3, H, W] mirrored, moved and resized a little, with some noise."""
    uniform = lambda low, high: low + (high - low) * torch.rand(len(x), generator=generator)  # noqa: E731
    flip, scale = uniform(-1, 1).sign(), uniform(0.9, 1.12)
    zero, right, down = torch.zeros(len(x)), uniform(-0.1, 0.1), uniform(-0.1, 0.1)
    rows = torch.stack([scale * flip, zero, right, zero, scale, down], 1).view(-1, 2, 3)
    grid = nn.functional.affine_grid(rows, x.shape, align_corners=False)
    x = nn.functional.grid_sample(x - 1, grid, align_corners=False) + 1  # white comes in
    noise = torch.randn(x.shape, generator=generator)
    return x + uniform(0, 0.3).view(-1, 1, 1, 1) * noise


def pair_loss(model, batch, generator):
    """Contrastive loss; one text in eight goes without its style."""
    x, prompts, captions = batch
    bare = torch.rand(len(x), 1, generator=generator) < 1 / 8
    ids = torch.where(bare, captions, prompts)
    ids = ids[
        :, : int((ids != ids[:, -1:]).sum(1).max()) + 1
    ]  # what follows the end changes nothing
    scale = model.logit_scale.clamp(max=4.6)  # ln 100
    return contrastive_loss(model(ids), model.image(jitter(x, generator)), scale)


def texts(split, tokenizer):
    """Token numbers of prompts and captions of a split: two LongTensors [N, L]."""
    table = load_emoji(split).data.table
    return [tokenizer(table[name].to_pylist()) for name in ("prompt", "caption")]


def train_pair(name, text, tower, vocab_size, steps, seed):
    """A tokenizer, a text encoder and an image tower from prompts and pictures alone."""
    seed_everything(seed)
    table = load_emoji("train").data.table
    tokenizer = Tokenizer.train(table["prompt"].to_pylist(), vocab_size, length=32)
    tokenizer.save(BUILD / name / "tokenizer")
    text = {**text, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.end}
    size = 32 if tower["size"] == 32 else 64
    held_out = load_emoji("test_pair", size=size)
    pictures, prompts = to_tensor(held_out), list(held_out["prompt"])
    run = train(
        Judge(text, tower, tokenizer),
        (to_tensor(load_emoji("train", size=size)), *texts("train", tokenizer)),
        pair_loss,
        folder=BUILD / name,
        steps=steps,
        batch_size=128,
        lr=1e-3,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        ema=0.995,
        seed=seed,
        callback=every(100, lambda run: prompt_accuracy(pictures, prompts, judge=run.ema.eval())),
        every=100,
    )
    return run.ema.eval()


def train_text(steps=1200):
    """The text encoder of the pipeline, with an image tower that is not needed afterwards."""
    pair = train_pair("text", TEXT, TOWER, 2560, steps, seed=1)
    special = {"bos_token_id": pair.tokenizer.start, "pad_token_id": pair.tokenizer.pad}
    write_part(EMOJI, "text_encoder", pair.text, half=True, **special)
    pair.tokenizer.save(EMOJI / "tokenizer")


def train_judge(steps=1200):
    """The judge: reads prompts and pictures, and shares nothing with the pipeline."""
    train_pair("judge", JUDGE_TEXT, JUDGE_TOWER, 2000, steps, seed=2).save(CHECKPOINTS / "judge")


# --- the U-Net ------------------------------------------------------------------------------------

UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [48, 96, 128],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "attention_head_dim": 4,
    "cross_attention_dim": TEXT["hidden_size"],
}
MIRRORED = ("smileys-emotion", "people-body", "animals-nature", "food-drink")


def conditions(table, tokenizer, text):
    """The text encoder's states of all prompts, all captions, and nothing: [N, L, D] each."""
    prompt, caption = (
        in_parts(text, tokenizer(table[name].to_pylist())) for name in ("prompt", "caption")
    )
    return prompt, caption, text(tokenizer(""))


def train_unet(steps=3000, round=1):
    """The U-Net, on the latents of all pictures and, where left and right mean nothing, mirrored.

    One prompt in ten is left out, for guidance; one in ten goes without its style.
    """
    seed_everything(round)
    tokenizer = Tokenizer.load(EMOJI / "tokenizer")
    vae, text = (read_part(EMOJI, name, NETWORKS[name]) for name in ("vae", "text_encoder"))
    unet = UNet.from_config(UNET) if round == 1 else begun("unet")
    dataset = load_emoji("train")
    x, table = to_tensor(dataset), dataset.data.table
    prompt, caption, empty = conditions(table, tokenizer, text)
    sides = [
        group in MIRRORED and not {"left", "right"} & set(text.replace("-", " ").split())
        for group, text in zip(table["group"].to_pylist(), table["caption"].to_pylist())
    ]
    mirrored = torch.tensor(sides).nonzero().flatten()
    both = torch.cat([x, x[mirrored].flip(-1)])
    latents = vae.scaling_factor * in_parts(lambda part: vae.encode(part).mode(), both)
    row = torch.cat([torch.arange(len(x)), mirrored])
    del x, both
    schedule = NoiseSchedule.cosine()

    def loss(model, batch, generator):
        x0, row = batch
        which = torch.rand(len(x0), generator=generator)[:, None, None]
        context = torch.where(which < 0.1, caption[row], prompt[row])
        context = torch.where(which > 0.9, empty, context)
        return training_loss(model, x0, schedule, "sample", context, generator=generator)

    run = train(
        unet,
        (latents, row),
        loss,
        folder=BUILD / f"unet-{round}",
        steps=steps,
        batch_size=32,
        lr=2e-3 if round == 1 else 1e-3,
        ema=0.998,
        seed=round,
        callback=every(100, lambda run: f"{run.pictures_per_second:.0f} pictures/s"),
        every=100,
    )
    parts = run.ema.eval(), vae, text, tokenizer
    if run.rank == 0:
        TextToImage(*parts, schedule, "sample", "trailing", 1).save(EMOJI, half=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ("vae", "text", "judge", "unet")
    parser.add_argument("part", nargs="*", default=parts, help=", ".join(parts))
    parser.add_argument("--steps", type=int, help="in place of the part's own number")
    parser.add_argument("--round", type=int, help="of vae or unet, from 2 on")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    options = {k: v for k in ("steps", "round") if (v := getattr(args, k))}
    for part in args.part:
        globals()[f"train_{part}"](**options)


if __name__ == "__main__":
    main()
