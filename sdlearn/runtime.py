"""The machine a chapter runs on: its device, its seeds, and the set-up line of every notebook."""

import os
import random

# Threads that wait for each other sleep in place of spinning. That costs small networks a tenth on
# an idle machine, and saves them three quarters on a busy one. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from . import __version__
from .places import course_root, in_colab

__all__ = [
    "amp_dtype",
    "course_root",
    "device",
    "device_name",
    "in_colab",
    "pick",
    "seed_everything",
    "start",
]

_AVAILABLE = {
    "cuda": lambda: torch.cuda.is_available(),
    "mps": lambda: torch.backends.mps.is_available(),
    "cpu": lambda: True,
}


def device():
    """The torch.device to compute on: CUDA if there is one, else Apple's MPS, else the CPU.

    The environment variable SDLEARN_DEVICE ("cpu", "cuda", "cuda:1", "mps") overrides it.
    Raises ValueError if it names no device, RuntimeError if this machine does not have it.
    """
    wanted = os.environ.get("SDLEARN_DEVICE", "").strip()
    if not wanted:
        return torch.device(next(kind for kind, there in _AVAILABLE.items() if there()))
    kind, _, index = wanted.lower().partition(":")
    if kind not in _AVAILABLE or (":" in wanted and not index.isdecimal()):
        raise ValueError(
            f"SDLEARN_DEVICE is {wanted!r}; expected cpu, cuda, cuda:1 (a number) or mps. "
            "Correct it, or unset it to have the device chosen for you"
        )
    there = [name for name, available in _AVAILABLE.items() if available()]
    if kind not in there or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise RuntimeError(
            f"SDLEARN_DEVICE is {wanted!r}, but this torch ({torch.__version__}) finds only: "
            f"{', '.join(there)}. Unset it, or run `sdlearn doctor` to see what is missing"
        )
    return torch.device(wanted.lower())


def device_name(device):
    """A device in words: "cpu, 2 threads", "cuda, NVIDIA T4"."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    return str(device)


def pick(*, cpu, gpu):
    """`gpu` when the device is a GPU, `cpu` otherwise: `steps = pick(cpu=400, gpu=4000)`."""
    return cpu if device().type == "cpu" else gpu


def amp_dtype(device):
    """The dtype that mixed precision should use on `device`, or None where it brings nothing.

    bfloat16 from compute capability 8 on (A100, RTX 30), float16 with its loss scaling on 7
    (V100, T4). Older cards have no tensor cores; on most CPUs bfloat16 products are hundreds
    of times slower than float32; on MPS the small networks of this course do not gain.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return None
    major, _ = torch.cuda.get_device_capability(device)
    if major >= 8:
        return torch.bfloat16
    return torch.float16 if major == 7 else None


def seed_everything(n=0):
    """Seed Python's, numpy's and torch's random numbers (all devices) with 0 <= n < 2**32."""
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 2**32:
        raise ValueError(f"seed {n!r} is not a whole number from 0 to 2**32 - 1: try 0")
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)


def start(seed=0):
    """Begin a chapter: seed everything, choose the device, print both on one line.

    Returns the torch.device.
    """
    seed_everything(seed)
    chosen = device()
    print(
        f"sdlearn {__version__}, torch {torch.__version__}, "
        f"device {device_name(chosen)}, seed {seed}"
    )
    return chosen
