"""Chapter 03: the exercise `unet.timestep_embedding`."""

import math

import torch

from sdlearn import layers
from sdlearn.exercises.bank import Case, Exercise


def _times():
    yield Case((torch.tensor([7, 0, 1, 999]), 8), "dim is 8")
    yield Case((torch.tensor([400]), 32), "there is one timestep and dim is 32")
    yield Case((torch.tensor([0.5, 250.0]), 6), "timesteps are broken numbers")


def _waves(rates=None, angles=None, join=None):
    """A wrong timestep_embedding: other rates(dim/2), angles(t, rates) or join(cos, sin)."""

    def answer(t, dim):
        half = dim // 2
        slow = rates(half) if rates else 10_000 ** (-torch.arange(half) / half)
        a = angles(t.float(), slow) if angles else t[:, None].float() * slow
        return join(a.cos(), a.sin()) if join else torch.cat([a.cos(), a.sin()], dim=1)

    return answer


TIME = Exercise(
    "unet.timestep_embedding",
    reference=layers.timestep_embedding,
    cases=_times,
    atol=1e-4,  # of t = 999 in float32
    hints=[
        "The speeds first: 10_000 ** (-torch.arange(half) / half) is ω, with half = dim // 2.",
        "The angles are t[:, None] * ω, [B, half]: each timestep with each ω.",
        "torch.cat([angles.cos(), angles.sin()], dim=1): cosines first.",
    ],
    mistakes={
        "Sines come first in yours. The order does not matter to a network that learns it, but "
        "Stable Diffusion's weights expect the cosines first.": _waves(
            join=lambda c, s: torch.cat([s, c], dim=1)
        ),
        "Cosines and sines take turns in yours; all cosines come first, then all sines: "
        "torch.cat([…], dim=1).": _waves(join=lambda c, s: torch.stack([c, s], dim=2).flatten(1)),
        "The sign of the exponent: ω falls from "
        "1 to nearly 1/10,000; yours grows to 10,000.": _waves(
            lambda half: 10_000 ** (torch.arange(half) / half)
        ),
        "The exponent is -i/(dim/2), and i runs to dim/2; yours is divided by dim, so that the "
        "slowest wave is not slow enough.": _waves(
            lambda half: 10_000 ** (-torch.arange(half) / (2 * half))
        ),
        "Yours divides by dim/2 - 1. Some papers do (freq_shift = 1 in the package); Stable "
        "Diffusion divides by dim/2.": _waves(
            lambda half: 10_000 ** (-torch.arange(half) / (half - 1))
        ),
        "The base is 1,000 in yours, as if it were the number of timesteps; it is 10,000.": _waves(
            lambda half: 1000 ** (-torch.arange(half) / half)
        ),
        "The index counts from 1 in yours; torch.arange counts from 0, so that the first wave "
        "is cos(t).": _waves(lambda half: 10_000 ** (-(torch.arange(half) + 1) / half)),
        "There is a 2π before t in yours. The wavelengths are 2π · 10,000^(i/half): ω has no "
        "2π in it.": _waves(angles=lambda t, slow: 2 * math.pi * t[:, None] * slow),
        "t is divided by 1,000 in yours. It goes in as it is, 0 to 999.": _waves(
            angles=lambda t, slow: t[:, None] / 1000 * slow
        ),
        "t is divided by ω in yours; multiply.": _waves(angles=lambda t, slow: t[:, None] / slow),
        "The waves do not slow down one by one: ω_i is 10,000 to the power -i/half, not "
        "1 - i/half.": _waves(lambda half: 1 - torch.arange(half) / half),
        "The second half should be sines; yours are cosines again.": _waves(
            join=lambda c, s: torch.cat([c, c], dim=1)
        ),
        "The first half should be cosines; yours are sines as well.": _waves(
            join=lambda c, s: torch.cat([s, s], dim=1)
        ),
    },
)
