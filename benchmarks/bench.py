"""Paired measurements against diffusers, with the same weights, in one run (`make bench`).

    python benchmarks/bench.py              every pair, a few minutes
    python benchmarks/bench.py draw         those whose name has "draw" in it
    python benchmarks/bench.py --rounds 30  more rounds, narrower spread
    python benchmarks/bench.py --large      Stable Diffusion 1.5 at full size too

"prompt" is the whole way from words to pictures, with diffusers' pipeline opening the same folder.

In each round both sides run, one right after the other and each first every second time, so that
whatever else the machine does hits both. What counts is the ratio within a round, theirs / ours:
above 1, ours is faster. The table gives its median and, in brackets, its quartiles over the rounds;
memory is the largest that a process of its own takes for the same work. The table is appended, with
the machine's description, to benchmarks/results/.
"""

import argparse
import datetime
import json
import logging
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from sdlearn.clip import CLIPTextModel, Tokenizer
from sdlearn.data import data_folder
from sdlearn.pipeline import TextToImage
from sdlearn.runtime import amp_dtype, device, device_name
from sdlearn.schedule import NoiseSchedule
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL

RESULTS = Path(__file__).resolve().parent / "results"
logging.getLogger("diffusers").setLevel(logging.ERROR)

# Chapter 04's: 32 × 32 pictures, 2 × 2 pixels folded into the channels.
FACES = json.loads((data_folder("training") / "faces.json").read_text(encoding="utf-8"))["model"]
WORDS = dict(  # of the size that the course's text-to-image model has
    block_out_channels=(64, 96, 128),
    cross_attention_dim=128,
    attention_head_dim=4,
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
)
WIDE = dict(  # a size up
    block_out_channels=(128, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
)


EMOJI = data_folder("checkpoints") / "emoji"


def stable_diffusion(part=0):
    """The configuration of Stable Diffusion 1.5's U-Net, autoencoder or text encoder."""
    (path,) = data_folder("configs").glob("1_*.json")
    return json.loads(path.read_text(encoding="utf-8"))["parts"][part]["config"]


def sides(kind, config, batch, size, training, only=None):
    """{"ours": function, "theirs": function}: one training step, or one answer, with equal weights.

    only: build that side alone (to measure its memory).
    """
    torch.manual_seed(0)
    where, config = device(), config or stable_diffusion()
    x = torch.randn(batch, config.get("in_channels", 3 if kind == "UNet2DModel" else 4), size, size)
    x, t = x.to(where), torch.randint(0, 1000, (batch,), device=where)
    dim = config.get("cross_attention_dim")
    context = torch.randn(batch, 77, dim, device=where) if dim else None
    dtype = amp_dtype(where)

    def build(ours):
        torch.manual_seed(0)
        if ours:
            return UNet.from_config({**config, "_class_name": kind}).to(where)
        return getattr(diffusers, kind)(**config).to(where)

    def run(model, ours):
        def once():
            with (
                torch.set_grad_enabled(training),
                torch.autocast(where.type, dtype, dtype is not None),
            ):
                if ours:
                    answer = model(x, t, context)
                else:
                    answer = model(x, t, *([context] if dim else [])).sample
            if training:
                answer.float().square().mean().backward()
                for parameter in model.parameters():
                    parameter.grad = None
            if where.type == "cuda":
                torch.cuda.synchronize()
            return answer

        return once

    models = {side: build(side == "ours") for side in ("ours", "theirs") if only in (None, side)}
    if only is None:
        models["ours"].load_state_dict(models["theirs"].state_dict())
    return {side: run(model, side == "ours") for side, model in models.items()}


def full_size():
    """A folder with Stable Diffusion 1.5 at full size: random weights, a small vocabulary."""
    folder = Path(tempfile.gettempdir()) / "sdlearn-bench-full-size"
    if (folder / "model_index.json").exists():  # the last thing that is written
        return folder
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a red heart"], 530, length=77)
    text = {**stable_diffusion(2), "vocab_size": len(tokenizer), "eos_token_id": tokenizer.end}
    networks = [
        UNet.from_config({"sample_size": 64, **stable_diffusion()}),
        AutoencoderKL.from_config(stable_diffusion(1)),
        CLIPTextModel.from_config(text),
    ]
    TextToImage(*networks, tokenizer, NoiseSchedule.scaled_linear()).save(folder, half=True)
    return folder


def prompts(count, steps, folder=EMOJI, only=None):
    """The same for the whole way from a prompt to `count` pictures, by both pipelines."""
    where, folder = device(), full_size() if folder is None else folder
    dtype = amp_dtype(where) or torch.float32
    texts, runs = count * ["a red heart"], {}
    if only in (None, "ours"):
        ours = TextToImage.load(folder).to(where).to(dtype)
        runs["ours"] = lambda: ours(texts, "", steps, 4.0, seed=1)
    if only in (None, "theirs"):
        theirs = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype).to(where)
        theirs.set_progress_bar_config(disable=True)

        def run():
            each = [torch.Generator().manual_seed(1 + i) for i in range(count)]
            how = {"num_inference_steps": steps, "guidance_scale": 4.0, "generator": each}
            return theirs(texts, **how).images

        runs["theirs"] = run
    return runs


def as_numbers(answer):
    """What a side answered as floats; the bytes of pictures as they are."""
    if isinstance(answer, torch.Tensor):
        return answer.detach().float()
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in answer])).float()


PAIRS = {  # name: class, configuration, batch, size, training?  Or pictures, steps, folder
    "faces, train": partial(sides, "UNet2DModel", FACES, 16, 16, True),
    "faces, draw 2": partial(sides, "UNet2DModel", FACES, 2, 16, False),
    "faces, draw 32": partial(sides, "UNet2DModel", FACES, 32, 16, False),
    "words, train": partial(sides, "UNet2DConditionModel", WORDS, 16, 16, True),
    "words, draw 2": partial(sides, "UNet2DConditionModel", WORDS, 2, 16, False),
    "words, draw 16": partial(sides, "UNet2DConditionModel", WORDS, 16, 16, False),
    "wide, train": partial(sides, "UNet2DModel", WIDE, 4, 32, True),
    "wide, draw 2": partial(sides, "UNet2DModel", WIDE, 2, 32, False),
    "prompt, 1": partial(prompts, 1, 20),
    "prompt, 4": partial(prompts, 4, 20),
}
LARGE = {
    "SD 1.5, draw 2": partial(sides, "UNet2DConditionModel", None, 2, 64, False),
    "SD 1.5, prompt": partial(prompts, 1, 1, None),
}


def ratios(runs, rounds):
    """The ratio theirs / ours of each round, and the median seconds of both sides."""
    seconds = {side: [] for side in runs}
    for number in range(rounds + 2):  # the first two warm up
        for side in sorted(runs, reverse=bool(number % 2)):
            began = time.perf_counter()
            runs[side]()
            if number >= 2:
                seconds[side].append(time.perf_counter() - began)
    found = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["theirs"])]
    return found, {side: statistics.median(values) for side, values in seconds.items()}


def largest_memory(arguments):
    """MB that one side takes at most, over what Python and torch take by themselves."""
    pair, side, threads = arguments
    torch.set_num_threads(threads)
    if device().type == "cuda":
        runs = pair(only=side)
        torch.cuda.reset_peak_memory_stats()
        [runs[side]() for _ in range(2)]
        return torch.cuda.max_memory_allocated() / 1e6
    before = peak_memory()
    runs = pair(only=side)
    [runs[side]() for _ in range(2)]
    return peak_memory() - before


def peak_memory():
    """MB that this process has taken at most so far."""
    status = Path("/proc/self/status")
    if status.exists():  # `resource` would count what the parent had before this process began
        (line,) = (row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def memory(pair):
    """{"ours": MB, "theirs": MB}, each in a process of its own; None where that cannot be told."""
    if sys.platform == "win32":
        return {"ours": None, "theirs": None}
    jobs = [(pair, side, torch.get_num_threads()) for side in ("ours", "theirs")]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return dict(zip(("ours", "theirs"), pool.map(largest_memory, jobs, chunksize=1)))


def rate():
    """TFLOP/s of a large matrix product, in the precision that the pairs run in."""
    where = device()
    n, dtype = (8192, amp_dtype(where) or torch.float32) if where.type == "cuda" else (2048, None)
    a = torch.randn(n, n, device=where, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best / 1e12


def flops(run):
    """Floating-point operations of one call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def machine():
    """The machine in words."""
    name = device_name(device())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{name}; {platform.system()} {platform.machine()}, {cores} cores; Python "
        f"{platform.python_version()}, torch {torch.__version__}, diffusers {diffusers.__version__}"
    )


def measure(name, pair, rounds, peak):
    """One row of the table."""
    runs = pair()
    answers = {side: as_numbers(run()) for side, run in runs.items()}
    difference = (answers["ours"] - answers["theirs"]).abs().max() / answers["theirs"].abs().max()
    found, seconds = ratios(runs, rounds)
    low, _, high = statistics.quantiles(found, n=4)
    used = memory(pair)
    return {
        "pair": name,
        "ratio": round(statistics.median(found), 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "ours ms": round(1e3 * seconds["ours"], 2),
        "theirs ms": round(1e3 * seconds["theirs"], 2),
        "ours MB": used["ours"] and round(used["ours"]),
        "theirs MB": used["theirs"] and round(used["theirs"]),
        "share of peak": round(flops(runs["ours"]) / seconds["ours"] / 1e12 / peak, 3),
        "largest difference": float(f"{float(difference):.1e}"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="?", default="", help="only pairs with this in their name")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--large", action="store_true", help="Stable Diffusion's size too (8 GB)")
    options = parser.parse_args()
    pairs = {**PAIRS, **(LARGE if options.large else {})}
    pairs = {name: pair for name, pair in pairs.items() if options.pairs in name}
    if not pairs:
        parser.error(f"no pair is called {options.pairs!r}; there are: {'; '.join(PAIRS)}")
    peak, rows = rate(), []
    print(f"{machine()}; {peak:.3g} TFLOP/s in matrix products\n")
    print(
        "pair              ratio theirs/ours      ours     theirs   MB ours  theirs  share of peak"
    )
    for name, pair in pairs.items():
        row = measure(name, pair, options.rounds, peak)
        rows.append(row)
        spread = "[{:.2f}, {:.2f}]".format(*row["quartiles"])
        mb = [f"{row[side]:8}" if row[side] else "       -" for side in ("ours MB", "theirs MB")]
        print(
            f"{name:16} {row['ratio']:6.2f} {spread:14} {row['ours ms']:7.1f} ms "
            f"{row['theirs ms']:7.1f} ms {' '.join(mb)}  {row['share of peak']:8.0%}",
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    report = {"date": now, "machine": machine(), "TFLOP/s": round(peak, 4), "rows": rows}
    with open(RESULTS / f"{device().type}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(report, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
