"""Shares and means with the interval that they leave open, 95% each (chapter 11 builds it).

All take the cases as independent: where several pictures were drawn from one prompt, or one caption
in three styles, the true interval is wider.
"""

import math
from typing import NamedTuple

import torch


class Share(NamedTuple):
    """A share of some number of cases, with its 95% interval; prints as one line."""

    share: float
    low: float
    high: float
    number: int  # of cases
    chance: float = None  # what guessing would give, where that is known

    def __str__(self):
        chance = "" if self.chance is None else f"; chance {100 * self.chance:.3g}%"
        ends = f"{100 * self.low:.1f} to {100 * self.high:.1f}"
        return f"{100 * self.share:.1f}% of {self.number} (95%: {ends}{chance})"


def wilson(right, chance=None):
    """The `Share` of True in a list or tensor, with Wilson's interval (Wilson 1927).

    The shares from which this one is not farther away than 1.96 of *their* standard deviations. So
    it stays inside 0 … 1, and 20 of 20 is "83.9% or more", not "100% ± 0".
    """
    right = torch.as_tensor(right).detach().cpu().double()
    n, z = right.numel(), 1.959964
    if not n or not ((right == 0) | (right == 1)).all():
        raise ValueError(f"{n} cases: a share needs one or more, each of them True or False")
    p = right.mean().item()
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Share(p, max(0.0, middle - half), min(1.0, middle + half), n, chance)


class Mean(NamedTuple):
    """A mean of some number of values, with its 95% interval; prints as one line."""

    mean: float
    low: float
    high: float
    number: int  # of values

    def __str__(self):
        return f"{self.mean:.3g} (95%: {self.low:.3g} to {self.high:.3g}; {self.number})"


def bootstrap(values, draws=1000, seed=0):
    """The `Mean` of values [N] with a bootstrap interval (Efron 1979), for any distribution.

    N values are drawn from the N, with repeats, `draws` times: 95% of the means lie within it. With
    fewer than ten values it is too narrow. Raises ValueError for fewer than two.
    """
    values = torch.as_tensor(values).detach().flatten().cpu().double()
    if len(values) < 2 or not values.isfinite().all():
        raise ValueError(f"{len(values)} values given, 2 or more are needed, all of them finite")
    generator, n = torch.Generator().manual_seed(seed), len(values)
    rows = (torch.randint(n, (n,), generator=generator) for _ in range(draws))
    means = torch.stack([values[row].mean() for row in rows])
    low, high = means.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Mean(values.mean().item(), low, high, n)


class Compared(NamedTuple):
    """A `Share` or `Mean` of drawn pictures and the same of real ones; prints as one line."""

    drawn: NamedTuple
    real: NamedTuple

    def __str__(self):
        return f"{self.drawn}, real pictures: {self.real}"
