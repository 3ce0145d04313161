"""Train the network behind the Fréchet and kernel distances; writes data/checkpoints/features.

    python tools/train_features.py                 # the shipped weights: a quarter of an hour
    python tools/train_features.py --steps 50 --out /tmp/try

The network learns from the train split what a picture shows (style, category, skin tone, concept)
and how damaged it is (noise, blur, coarseness). Captions are not used: whatever judges prompts
later shall not have learnt from the same labels. One thread and fixed seeds: the same machine and
the same release of PyTorch give the same weights.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sdlearn.data import SPLITS, STYLES, load_emoji, to_tensor
from sdlearn.metrics import FeatureNet, extract_features

ROOT = Path(__file__).resolve().parents[1]
CHANNELS, STRIDES = [32, 48, 64, 96, 128, 128], [2, 1, 2, 1, 2, 1]
TONES = ["", "light", "medium-light", "medium", "medium-dark", "dark", "two"]
DAMAGE = ["noise", "blur", "coarse"]
WEIGHTS = {"style": 1.0, "group": 1.0, "subgroup": 1.0, "skin_tone": 1.0, "concept": 0.5}
BATCH = 64


def read(split):
    """Pictures [N, 3, 32, 32] of a split, and the columns that become labels."""
    dataset = load_emoji(split, size=32)
    table = dataset.data.table
    columns = {name: table[name].to_pylist() for name in ("style", "group", "subgroup")}
    tones = table["skin_tone"].to_pylist()
    columns["skin_tone"] = ["two" if " and " in tone else tone for tone in tones]
    # The concept: the code points without those of skin tones.
    keys = [key.split("-") for key in table["key"].to_pylist()]
    columns["concept"] = ["-".join(c for c in key if not "1F3FB" <= c <= "1F3FF") for key in keys]
    return to_tensor(dataset), columns


def as_numbers(columns, labels):
    """Each column as [N] numbers of labels; -100, which the loss passes over, if unknown."""
    index = {name: {label: i for i, label in enumerate(labels[name])} for name in labels}
    return {
        name: torch.tensor([index[name].get(value, -100) for value in columns[name]])
        for name in labels
    }


def blur(x, sigma):
    """Gaussian blur of [B, C, H, H], each picture with its own sigma [B] > 0, in pixels."""
    place = torch.arange(x.shape[-1], dtype=x.dtype)
    apart = (place[:, None] - place).square()
    kernel = (-apart / (2 * sigma.view(-1, 1, 1, 1) ** 2)).softmax(dim=-1)  # [B, 1, H, H]
    return kernel @ x @ kernel.transpose(-1, -2)


def augment(x, generator):
    """[B, 3, 32, 32] moved, resized, mirrored and damaged; and the damage done, [B, 3]."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(len(x), generator=generator)

    def sometimes(share):
        return (torch.rand(len(x), generator=generator) < share).float()

    flip = 1 - 2 * sometimes(0.5)
    scale, zero = uniform(0.9, 1.15), torch.zeros(len(x))
    rows = [scale * flip, zero, uniform(-0.12, 0.12), zero, scale, uniform(-0.12, 0.12)]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), x.shape, align_corners=False)
    x = F.grid_sample(x - 1, grid, align_corners=False) + 1  # what comes in from outside is white

    coarse = sometimes(0.2)
    half = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=False)
    x = torch.where(coarse.view(-1, 1, 1, 1) > 0, half, x)
    width = sometimes(0.4) * uniform(0, 2.5)
    x = blur(x, width.clamp(min=0.05))
    sigma = sometimes(0.4) * uniform(0, 1) ** 2
    x = x + sigma.view(-1, 1, 1, 1) * torch.randn(x.shape, generator=generator)
    return x.clamp(-1, 1), torch.stack([sigma, width, coarse], 1)


def train(x, targets, network, concepts, steps, log=print):
    """Train the network in place. Returns the loss of every hundredth step."""
    generator = torch.Generator().manual_seed(0)
    norms = nn.ModuleList(nn.BatchNorm2d(conv.out_channels) for conv in network.convs)
    concept = nn.Linear(len(network.mean), concepts)  # only needed while training
    everything = nn.ModuleList([network, norms, concept])
    optimiser = torch.optim.AdamW(everything.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps, pct_start=0.1)
    order, losses, total = torch.empty(0, dtype=torch.long), [], 0.0
    for step in range(steps):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(x), generator=generator)])
        rows, order = order[:BATCH], order[BATCH:]
        h, damage = augment(x[rows], generator)
        for conv, norm in zip(network.convs, norms):
            h = F.silu(norm(conv(h)))
        h = h.mean(dim=(2, 3))
        answers = {**network.answers(h), "concept": concept(h)}
        loss = 2 * F.mse_loss(answers["damage"], damage)
        for name in (name for name in WEIGHTS if name in targets):
            loss = loss + WEIGHTS[name] * F.cross_entropy(answers[name], targets[name][rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            losses.append(total / 100)
            total = 0.0
            log(f"step {step + 1:5d}  loss {losses[-1]:.3f}", flush=True)
    # What the norms do is a scale and a shift by now: it goes into the convolutions.
    for i, norm in enumerate(norms):
        network.convs[i] = fuse_conv_bn_eval(network.convs[i].eval(), norm.eval())
    return losses


def standardise(network, x):
    """Give each feature mean 0 and variance 1 on x; the heads still answer the same."""
    raw = extract_features(x, network)
    network.mean.copy_(raw.mean(dim=0))
    network.std.copy_(raw.std(dim=0).clamp(min=1e-3))
    for head in network.heads.values():
        head.bias += head.weight @ network.mean
        head.weight *= network.std


@torch.no_grad()
def accuracies(network, x, columns):
    """{label's name: share that the network names rightly}."""
    targets = as_numbers(columns, {k: v for k, v in network.labels.items() if k != "damage"})
    answers = network.answers(extract_features(x, network))
    return {
        k: (answers[k].argmax(1) == target).float().mean().item() for k, target in targets.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=4300)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "checkpoints" / "features")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    started = time.time()

    x, columns = read("train")
    heads = {"style": list(STYLES), "skin_tone": TONES, "damage": DAMAGE}
    heads |= {name: sorted(set(columns[name])) for name in ("group", "subgroup")}
    labels = {k: v for k, v in heads.items() if k != "damage"}
    labels["concept"] = sorted(set(columns["concept"]))
    config = {"channels": CHANNELS, "strides": STRIDES, "heads": heads}
    network = FeatureNet(**config)
    count = sum(p.numel() for p in network.parameters())
    print(f"{len(x)} pictures, {count} parameters, {len(labels['concept'])} concepts", flush=True)
    targets = as_numbers(columns, labels)
    losses = train(x, targets, network, len(labels["concept"]), args.steps)
    network.eval().requires_grad_(False)
    standardise(network, x)

    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=1, ensure_ascii=False)
    (args.out / "config.json").write_text(text + "\n", encoding="utf8")
    note = {"command": f"python tools/train_features.py --steps {args.steps}"}
    note["losses"] = json.dumps([round(loss, 3) for loss in losses])
    half = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(half, args.out / "model.safetensors", note)
    print(f"trained and written in {time.time() - started:.0f} s")

    network = FeatureNet.load(args.out)
    for split in SPLITS:
        found = accuracies(network, *read(split))
        print(f"{split:12}", "  ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
