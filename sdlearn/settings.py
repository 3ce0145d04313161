"""What decides the result of a training run, beside model, data and loss (for `train`)."""

import math
from dataclasses import dataclass


def whole(least):
    """The test for a whole number from `least` on, and what to call it."""
    return lambda v: type(v) is int and least <= v < 2**32, f"a whole number, {least} or more"


ABOVE_0 = lambda v: 0 < v < math.inf, "a number above 0"
RIGHT = {
    "steps": whole(1),
    "batch_size": whole(1),
    "lr": ABOVE_0,
    "warmup": whole(0),
    "betas": (lambda v: all(0 <= b < 1 for b in v) and len(v) == 2, "two numbers in [0, 1)"),
    "weight_decay": (lambda v: 0 <= v < math.inf, "a number, 0 or more"),
    "clip": ABOVE_0,
    "ema": (lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "accumulate": whole(1),
    "seed": whole(0),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a run. Raises ValueError for values that make no sense."""

    steps: int  # updates of the weights
    batch_size: int = 32  # pictures a step: all micro-batches, all devices
    lr: float = 1e-3  # the highest learning rate
    warmup: int | None = None  # steps until it is reached; None: a twentieth of all
    betas: tuple = (0.9, 0.99)  # AdamW's memory for gradients, and for their squares
    weight_decay: float = 0.0
    clip: float | None = 1.0  # the longest gradient; None: any
    ema: float = 0.995  # what stays of the average weights in a step
    accumulate: int = 1  # micro-batches a step, on each device
    seed: int = 0

    def __post_init__(self):
        for name, value in vars(self).items():
            right, expected = RIGHT[name]
            try:
                fine = (value is None and name in ("warmup", "clip")) or right(value)
            except TypeError:
                fine = False
            if not fine:
                raise ValueError(f"{name} is {value!r}, but must be {expected}")
