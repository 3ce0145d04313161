"""Train the course's text-to-image model and its judge; writes data/checkpoints.

    python tools/train_emoji.py vae            # one part; each can be stopped and goes on
    python tools/train_emoji.py                # all parts that are not finished, in this order

Only the train split is used. Every part keeps its checkpoint in build/emoji.
"""

import argparse
import json
import os
from pathlib import Path

import torch

from sdlearn.checkpoint import write
from sdlearn.data import load_emoji, to_tensor
from sdlearn.metrics import psnr
from sdlearn.runtime import seed_everything
from sdlearn.train import train
from sdlearn.vae import AutoencoderKL
from sdlearn.vae_loss import autoencoder_loss

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "emoji"
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


def every(steps, text):
    """A callback that prints a line every so many steps."""

    def callback(run):
        if run.step % steps == 0 or run.finished:
            print(f"step {run.step}: loss {run.loss:.4f}, {run.seconds:.0f} s {text(run)}", flush=True)

    return callback


@torch.no_grad()
def psnr_of(vae, x):
    """Mean PSNR in dB of pictures that went through the autoencoder."""
    return torch.cat([psnr(vae(part), part) for part in x.split(64)]).mean().item()


def train_vae(steps=6000):
    """Pictures of 64 × 64 to latents of 4 × 16 × 16 and back."""
    seed_everything(0)
    x = to_tensor(load_emoji("train"))
    held_out = to_tensor(load_emoji("test_pair"))[::3]
    run = train(
        AutoencoderKL.from_config(VAE),
        torch.cat([x, x.flip(-1)]),
        autoencoder_loss(),
        folder=BUILD / "vae",
        steps=steps,
        batch_size=8,
        lr=2e-3,
        ema=0.999,
        callback=every(250, lambda run: f"PSNR {psnr_of(run.ema, held_out):.2f} dB"),
        every=250,
    )
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="*", default=["vae"])
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    for part in args.part:
        globals()[f"train_{part}"]()


if __name__ == "__main__":
    main()
