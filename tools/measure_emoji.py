"""Measure data/checkpoints/emoji as its model card reports it.

    python tools/measure_emoji.py              # all prompts of test_pair and test_tone, minutes
    python tools/measure_emoji.py --every 4    # a quarter of them
    python tools/measure_emoji.py --sheet build/sheet.png    # and look at some

One picture is drawn for each held-out prompt, in 20 steps. "Real" is the same for the pictures that
belong to the prompts and were held out with them.
"""

import argparse
import textwrap
import time
from pathlib import Path

import torch

from sdlearn import show
from sdlearn.data import load_emoji, to_tensor
from sdlearn.generate import GUIDANCE
from sdlearn.judge import attribute_accuracy, nearest_training, precision_recall, prompt_accuracy
from sdlearn.metrics import distance_with_floor, frechet_distance, psnr
from sdlearn.pipeline import TextToImage
from sdlearn.runtime import device

ROOT = Path(__file__).resolve().parents[1]
SPLITS = ("test_pair", "test_tone")


def draw(pipeline, prompts, options, size=32):
    """Pictures [N, 3, 64, 64], the k-th with seed k; and the seconds each took."""
    began, pictures = time.perf_counter(), []
    for k in range(0, len(prompts), size):
        part = prompts[k : k + size]
        pictures += pipeline(part, seed=list(range(k, k + len(part))), **options)
        print(f"{len(pictures)} of {len(prompts)}", flush=True)
    return to_tensor(pictures), (time.perf_counter() - began) / len(prompts)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only every so manieth prompt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--sampler", default="dpmpp_2m")
    parser.add_argument("--sheet", help="a PNG with the first of the pictures and their prompts")
    args = parser.parse_args()
    pipeline = TextToImage.load(ROOT / "data" / "checkpoints" / "emoji").to(device())
    options = {name: getattr(args, name) for name in ("steps", "guidance", "sampler")}
    train, drawn, real = to_tensor(load_emoji("train")), [], []
    for split in SPLITS:
        dataset = load_emoji(split)
        dataset = dataset.select(range(0, len(dataset), args.every))
        prompts, x = list(dataset["prompt"]), to_tensor(dataset)
        pictures, seconds = draw(pipeline, prompts, options)
        print(f"\n{split}: {len(prompts)} prompts, {seconds:.2f} s a picture")
        if args.sheet:
            some = torch.cat([pictures[:48], x[:48]]).unflatten(0, (2, -1)).transpose(0, 1)
            titles = [t for p in prompts[:48] for t in (textwrap.fill(p, 20), "held out")]
            sheet = show._draw_images(some.flatten(0, 1), titles=titles, cols=16)
            sheet.savefig(Path(args.sheet).with_stem(f"{Path(args.sheet).stem}-{split}"))
        back = torch.cat([pipeline.vae(part) for part in x.to(device()).split(64)]).cpu()
        print(f"VAE: {psnr(back, x).mean():.2f} dB")
        print(f"prompt accuracy: {prompt_accuracy(pictures, prompts)}")
        print(f"          real: {prompt_accuracy(x, prompts)}")
        for name, found in attribute_accuracy(pictures, dataset).items():
            share = found.drawn.share / found.real.share
            print(f"{name}: {found}; {share:.0%} of it")
        drawn.append(pictures)
        real.append(x)
    drawn, real = torch.cat(drawn), torch.cat(real)
    print(f"\nall: nearest training picture: {nearest_training(drawn, train, real)}")
    distance, floor = distance_with_floor(drawn, train, frechet_distance)[:2]
    print(f"Fréchet distance to train: {distance:.1f}, train to other train: {floor:.1f}")
    for name, found in zip(("precision", "recall"), precision_recall(drawn, train)):
        print(f"{name}: {found}")


if __name__ == "__main__":
    main()
