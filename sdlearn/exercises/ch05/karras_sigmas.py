"""Chapter 05: the exercise `samplers.karras_sigmas`."""

import numpy as np
import torch

from sdlearn import samplers
from sdlearn.exercises.bank import Case, Exercise


def _karras_cases():
    yield Case((0.03, 14.6, 8), "8 levels, ρ = 7")
    yield Case((0.002, 80.0, 5, 3), "5 levels, ρ = 3")
    yield Case((0.1, 10.0, 2), "2 levels: both ends")


def _run_karras(answer, sigma_min, sigma_max, steps, rho=None):
    """Calls an answer; an array, a list or a tensor of any precision will do."""
    args = (sigma_min, sigma_max, steps)
    value = answer(*args) if rho is None else answer(*args, rho)
    if isinstance(value, tuple):
        raise TypeError("it returns a tuple (a comma in the return line?); one array is expected")
    if isinstance(value, (np.ndarray, np.number, list, float)):
        value = torch.from_numpy(np.array(value, dtype=np.float64))
    return value.double() if isinstance(value, torch.Tensor) else value


def _karras(wrong):
    """A wrong karras_sigmas: a function of σ_min, σ_max, the way u from 0 to 1, and ρ."""
    return lambda low, high, steps, rho=7: wrong(low, high, np.linspace(0, 1, steps), rho)


KARRAS = Exercise(
    "samplers.karras_sigmas",
    reference=samplers.karras_sigmas,
    cases=_karras_cases,
    run=_run_karras,
    hints=[
        "Three steps: the ρ-th root of both ends, a straight line between them, the ρ-th power.",
        "The ρ-th root is ** (1 / rho). The line starts at the high end: "
        "high + np.linspace(0, 1, steps) * (low - high).",
        "return (high + np.linspace(0, 1, steps) * (low - high)) ** rho, with high = "
        "sigma_max ** (1 / rho) and low = sigma_min ** (1 / rho).",
    ],
    mistakes={
        "These are still the roots: raise the line to the power ρ at the end.": _karras(
            lambda a, b, u, r: b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r))
        ),
        "They rise. Sampling begins at σ_max: the highest level comes first.": _karras(
            lambda a, b, u, r: (a ** (1 / r) + u * (b ** (1 / r) - a ** (1 / r))) ** r
        ),
        "This is a straight line in σ itself. Take the ρ-th roots of both ends first.": _karras(
            lambda a, b, u, r: b + u * (a - b)
        ),
        "This is a straight line in log σ. That is close to a very large ρ; here it is the "
        "ρ-th root in place of the logarithm.": _karras(lambda a, b, u, r: b * (a / b) ** u),
        "The power at the end is taken of one part alone: put the whole sum in brackets.": _karras(
            lambda a, b, u, r: b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r)) ** r
        ),
        "The root is taken twice: at the end comes the power, ** rho.": _karras(
            lambda a, b, u, r: (b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r))) ** (1 / r)
        ),
        "It equals 1 everywhere. Is the exponent 1 // rho? That is 0, and any number to the power "
        "0 is 1: write 1 / rho.": _karras(lambda a, b, u, r: np.ones_like(u)),
        "It equals σ_min times u to the power ρ: σ_max has fallen out. Put low - high in brackets, "
        "u goes with both.": _karras(lambda a, b, u, r: (u * a ** (1 / r)) ** r),
        "The power at the end is always 7 in yours: use `rho`.": _karras(
            lambda a, b, u, r: (b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r))) ** 7
        ),
        "σ_max is left out: both ends belong to the levels, "
        "u = np.linspace(0, 1, steps).": lambda a, b, steps, rho=7: samplers.karras_sigmas(
            a, b, steps + 1, rho
        )[1:],
        "Root and power are exchanged: first ** (1 / rho), at the end ** rho.": _karras(
            lambda a, b, u, r: (b**r + u * (a**r - b**r)) ** (1 / r)
        ),
        "ρ is always 7 in yours: use `rho`.": lambda a, b, steps, rho=7: samplers.karras_sigmas(
            a, b, steps
        ),
        "σ_min is not reached: both ends belong "
        "to the levels, np.linspace(0, 1, steps).": lambda a, b, steps, rho=7: (
            samplers.karras_sigmas(a, b, steps + 1, rho)[:-1]
        ),
        "There is one level more than asked for. The 0 at the end is not one of them: "
        "`levels` gets it elsewhere.": lambda a, b, steps, rho=7: np.append(
            samplers.karras_sigmas(a, b, steps, rho), 0.0
        ),
        "Python reads x ** 1 / rho as (x ** 1) / rho: put the root's exponent in brackets, "
        "x ** (1 / rho).": _karras(lambda a, b, u, r: (b / r + u * (a / r - b / r)) ** r),
        "The line leaves σ_max upwards: down to σ_min it goes by u times (low - high).": _karras(
            lambda a, b, u, r: (b ** (1 / r) + u * (b ** (1 / r) - a ** (1 / r))) ** r
        ),
    },
)
