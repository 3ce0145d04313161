"""Chapter 03: the exercise `unet.timestep_embedding`."""

import math

import torch

from sdlearn import layers
from sdlearn.exercises.bank import Case, Exercise


def _times():
    yield Case((torch.tensor([7, 0, 999]), 8), "there are three timesteps and dim is 8")
    yield Case((torch.tensor([400]), 32), "there is one timestep and dim is 32")
    yield Case((torch.tensor([0.5, 250.25]), 6), "timesteps that are not whole")


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
    advice={
        # There are three timesteps in the first case, and four waves.
        r"tensor a \([34]\) must match the size of tensor b \([34]\)": "t, [B], has to become a "
        "column, [B, 1], so that each t meets each ω: t[:, None] * ω.",
        r"range of \[-1, 0\]": "The angles need two dimensions, [B, dim/2]: t[:, None] * ω.",
        r"got input \(|mat1 and mat2": "@ adds products up; t[:, None] * ω keeps all of them, "
        "[B, dim/2].",
        "same dtype|scalar type": "Both sides of @ need the same dtype: t.float().",
        "used as indices": "t need not be whole, so it is no index into a table: compute its waves "
        "from t itself.",
    },
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
        "Sines and cosines take turns in yours, as in Vaswani et al.; here all cosines come first, "
        "then all sines: torch.cat([…], dim=1).": _waves(
            join=lambda c, s: torch.stack([s, c], dim=2).flatten(1)
        ),
        "The sign of the exponent: ω falls from "
        "1 to nearly 1/10,000; yours grows to nearly 10,000.": _waves(
            lambda half: 10_000 ** (torch.arange(half) / half)
        ),
        "The exponent is -i/(dim/2), and i runs to dim/2; yours is half of that, as if divided by "
        "dim, so that the slowest wave is not slow enough.": _waves(
            lambda half: 10_000 ** (-torch.arange(half) / (2 * half))
        ),
        "The exponent is twice what it should be: -i/(dim/2), not -2i/(dim/2).": _waves(
            lambda half: 10_000 ** (-2 * torch.arange(half) / half)
        ),
        "ω ends at 1/10,000 in yours, as if i were divided by dim/2 - 1. Some papers do "
        "(freq_shift = 1 in the package); Stable Diffusion divides by dim/2.": _waves(
            lambda half: 10_000 ** (-torch.arange(half) / (half - 1))
        ),
        "The base is 1,000 in yours, as if it were the number of timesteps; it is 10,000.": _waves(
            lambda half: 1000 ** (-torch.arange(half) / half)
        ),
        "The base is 100,000 in yours; it is 10,000, with four zeros.": _waves(
            lambda half: 100_000 ** (-torch.arange(half) / half)
        ),
        "The base is e in yours; with torch.exp the exponent is -math.log(10_000) * i / half.": (
            _waves(lambda half: torch.exp(-torch.arange(half) / half))
        ),
        "The index counts from 1 in yours; torch.arange counts from 0, so that the first wave "
        "is cos(t).": _waves(lambda half: 10_000 ** (-(torch.arange(half) + 1) / half)),
        "The slowest wave comes first in yours; ω_0 is 1, the fastest.": _waves(
            lambda half: 10_000 ** (-torch.arange(half).flip(0) / half)
        ),
        "All ω but the first are 0 in yours, or nearly. In 10_000 ** (-i / half) the exponent must "
        "be a fraction: with // or without the division it is whole. In torch.exp it needs a "
        "logarithm: -math.log(10_000) * i / half.": _waves(lambda half: torch.eye(half)[0]),
        "All ω but the first are 1/10,000 in yours: the exponent is cut down to -1, as // does it. "
        "It is -i / half, a fraction.": _waves(
            lambda half: 10_000.0 ** (-torch.arange(half) // half)
        ),
        "All ω are 1 in yours; they fall, 10_000 ** (-i / half). // would make each exponent "
        "0.": _waves(torch.ones),
        "The power is divided by half in yours: Python takes ** before /. The exponent needs "
        "brackets: (-torch.arange(half) / half).": _waves(
            lambda half: 10_000.0 ** -torch.arange(half) / half
        ),
        "ω is 1/half and then 0 in yours. Python takes ** before /, and a whole number to the "
        "power -1, -2, … is 0 in torch. The exponent needs brackets: (-torch.arange(half) / "
        "half).": _waves(lambda half: torch.eye(half)[0] / half),
        "There is a 2π before t in yours. The wavelengths are 2π · 10,000^(i/half): ω has no "
        "2π in it.": _waves(angles=lambda t, slow: 2 * math.pi * t[:, None] * slow),
        "The angles are divided by 180/π in yours, as if they were degrees; t · ω is in radians "
        "already.": _waves(angles=lambda t, slow: torch.deg2rad(t[:, None] * slow)),
        "t is divided by 1,000 in yours. It goes in as it is, 0 to 999.": _waves(
            angles=lambda t, slow: t[:, None] / 1000 * slow
        ),
        "The speeds grow in yours, as if t were divided by ω. Multiply t by ω, which falls.": (
            _waves(angles=lambda t, slow: t[:, None] / slow)
        ),
        "t is made whole in yours. It need not be: take it as it is.": _waves(
            angles=lambda t, slow: t.long()[:, None] * slow
        ),
        "The angles are made whole in yours: leave t · ω as it is.": _waves(
            angles=lambda t, slow: (t[:, None] * slow).long()
        ),
        "The sines have the wrong sign: the angles are t · ω, without a minus.": _waves(
            angles=lambda t, slow: -t[:, None] * slow
        ),
        "The waves do not slow down one by one: ω_i is 10,000 to the power -i/half, not "
        "1 - i/half.": _waves(lambda half: 1 - torch.arange(half) / half),
        "The second half should be sines; yours are cosines again.": _waves(
            join=lambda c, s: torch.cat([c, c], dim=1)
        ),
        "The first half should be cosines; yours are sines as well.": _waves(
            join=lambda c, s: torch.cat([s, s], dim=1)
        ),
        "The sines are missing: torch.cat([angles.cos(), angles.sin()], dim=1).": _waves(
            join=lambda c, s: c
        ),
        "The cosines are missing: torch.cat([angles.cos(), angles.sin()], dim=1).": _waves(
            join=lambda c, s: s
        ),
        "Cosines and sines are added up in yours; they stand side by side: torch.cat([…], "
        "dim=1).": _waves(join=lambda c, s: c + s),
        "These are the angles; their cosines and sines are asked for.": lambda t, dim: (
            t[:, None] * 10_000 ** (-torch.arange(dim // 2) / (dim // 2))
        ),
        "There are dim waves in yours, and only their cosines; dim/2 waves are asked for, each as "
        "a cosine and a sine.": _waves(
            lambda half: 10_000 ** (-torch.arange(2 * half) / (2 * half)), join=lambda c, s: c
        ),
        "There are dim waves in yours, so with cosines and sines 2 · dim numbers; dim/2 waves are "
        "enough: torch.arange(half).": _waves(
            lambda half: 10_000 ** (-torch.arange(2 * half) / (2 * half))
        ),
        "There are dim waves in yours, i/half for i up to dim - 1; dim/2 waves are enough: "
        "torch.arange(half).": _waves(lambda half: 10_000 ** (-torch.arange(2 * half) / half)),
        "There are 32 waves in yours, whatever dim is; there should be half of dim.": _waves(
            lambda half: 10_000 ** (-torch.arange(32) / 32)
        ),
        "The sines stand below the cosines, as torch.cat puts them without dim=1; each row is to "
        "hold both.": _waves(join=lambda c, s: torch.cat([c, s])),
        "Waves of different timesteps share a row, as view and reshape lay them out: torch.cat([…]"
        ", dim=1) puts the cosines and sines of each t side by side.": _waves(
            join=lambda c, s: torch.stack([c, s]).view(len(c), -1)
        ),
        "t and ω have changed places: each row belongs to one t, t[:, None] * ω.": _waves(
            angles=lambda t, slow: slow[:, None] * t
        ),
        "These are the waves of all timesteps from 0 to 999; those of t are asked for.": (
            lambda t, dim: layers.timestep_embedding(torch.arange(1000), dim)
        ),
        "The waves are divided by √(dim/2) in yours, so that each row has length 1. They stay "
        "between -1 and 1.": _waves(
            join=lambda c, s: torch.cat([c, s], dim=1) / math.sqrt(c.shape[1])
        ),
        "The numbers are right, but float64; the layers that read them have float32. End with "
        ".float().": lambda t, dim: layers.timestep_embedding(t, dim).double(),
    },
)
