"""Chapter 11: the exercise `judging.wilson`."""

import math

import torch

from sdlearn import intervals
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.intervals import Share, wilson


def _shares():
    for right, n in ((8, 10), (0, 10), (20, 20), (81, 263)):
        yield Case((torch.arange(n) < right,), f"{right} of {n} are right")


def _interval(ends):
    """A wrong wilson: ends(p, n, z) gives low and high."""

    def answer(right, chance=None):
        p, n = right.double().mean().item(), len(right)
        return Share(p, *map(float, ends(p, n, 1.959964)), n)

    return answer


def _filled(fill):
    """A wrong wilson with right numbers: fill(share, low, high, number) → what the Share gets."""
    return lambda right, chance=None: Share(*fill(*wilson(right)[:4]))


def _ends(middle=None, inside=None, scale=None, width=None, z=None):
    """Ends by the formula, one part of it wrong. inside: below the root. scale: the divisor."""
    middle = middle or (lambda p, n, z: p + z * z / (2 * n))
    inside = inside or (lambda p, n, z: p * (1 - p) / n + z * z / (4 * n * n))
    scale = scale or (lambda n, z: (1 + z * z / n,) * 2)
    width = width or (lambda inside, z: z * math.sqrt(inside))

    def ends(p, n, usual):
        of_normal = usual if z is None else z
        one, other = scale(n, of_normal)
        at = middle(p, n, of_normal) / one
        half = width(inside(p, n, of_normal), of_normal) / other
        return at - half, at + half

    return ends


def _wilson(*wrong, **parts):
    """A wrong wilson, by the part of the formula that is wrong (see `_ends`)."""
    return _interval(_ends(*wrong, **parts))


def _usual(p, n, z):
    """p ± z √(p(1-p)/n) where that lies within 0 … 1 and has a width, Wilson's elsewhere.

    So whoever cuts it off at 0 and 1, or not, or takes another there, makes this mistake too.
    """
    half = z * math.sqrt(p * (1 - p) / n)
    return (p - half, p + half) if half and half < min(p, 1 - p) else _ends()(p, n, z)


WILSON = Exercise(
    "judging.wilson",
    reference=intervals.wilson,
    cases=_shares,
    advice={
        "math domain error|nonnegative input": "Below the root it is negative: p(1-p) stands "
        "there, with p a share from 0 to 1.",
        "division by zero": "n is how many there are, len(right), not how many are right.",
    },
    hints=[
        "The two ends differ in one sign only: compute the middle of the interval and half its "
        "width, one after the other.",
        "n = len(right), p = right.double().mean().item(); "
        "middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)",
        "half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)); "
        "return Share(p, middle - half, middle + half, n)",
    ],
    returns=("share", "low", "high", "number", "chance"),
    mistakes={
        "This is p ± z √(p(1-p)/n): at 20 of 20 it has no width, elsewhere it may leave 0 … 1, and "
        "to cut it off there mends neither. Wilson's has z²/2n in the middle and z²/4n² below the "
        "root, and is divided by 1 + z²/n.": _interval(_usual),
        "The middle has z²n/2 where z²/2n belongs: Python reads z**2 / 2*n like that, so write "
        "z**2 / (2*n).": _wilson(lambda p, n, z: p + z**2 / 2 * n),
        "Below the root stands z²n²/4 where z²/4n² belongs: Python reads z**2 / 4*n**2 like that, "
        "so write z**2 / (4*n**2).": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n + z**2 / 4 * n**2
        ),
        "z²n/2 and z²n²/4 stand where z²/2n and z²/4n² belong: Python reads z**2 / 2*n and "
        "z**2 / 4*n**2 like that, so write z**2 / (2*n) and z**2 / (4*n**2).": _wilson(
            lambda p, n, z: p + z**2 / 2 * n,
            lambda p, n, z: p * (1 - p) / n + z**2 / 4 * n**2,
        ),
        "z²/n is added to both ends, in place of dividing by 1 + z²/n: Python reads x / 1 + z**2/n "
        "like that, so write x / (1 + z**2/n).": _interval(
            lambda p, n, z: [v + z**2 / n for v in _ends(scale=lambda n, z: (1, 1))(p, n, z)]
        ),
        "The middle is p itself; Wilson's is moved towards one half: "
        "(p + z²/2n) / (1 + z²/n).": _wilson(
            lambda p, n, z: p, scale=lambda n, z: (1, 1 + z * z / n)
        ),
        "Nothing is divided by 1 + z²/n.": _wilson(scale=lambda n, z: (1, 1)),
        "The middle is not divided by 1 + z²/n.": _wilson(scale=lambda n, z: (1, 1 + z * z / n)),
        "The half width is not divided by 1 + z²/n.": _wilson(
            scale=lambda n, z: (1 + z * z / n, 1)
        ),
        "The middle has z²/n where z²/2n belongs.": _wilson(lambda p, n, z: p + z * z / n),
        "The middle is p divided by 1 + z²/n: z²/2n is missing above.": _wilson(lambda p, n, z: p),
        "Below the root stands z²/4n where z²/4n² belongs.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n + z * z / (4 * n)
        ),
        "Below the root stands z²/2n² where z²/4n² belongs.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n + z * z / (2 * n * n)
        ),
        "Below the root z²/4n² is missing: at 20 of 20 nothing would be left of it.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n
        ),
        "Below the root p(1-p) is divided by n - 1; it is n.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / (n - 1) + z * z / (4 * n * n)
        ),
        "n - 1 stands in the place of n.": _interval(lambda p, n, z: _ends()(p, n - 1, z)),
        "Below the root p(1-p) is not divided by n.": _wilson(
            inside=lambda p, n, z: p * (1 - p) + z * z / (4 * n * n)
        ),
        "Below the root stands p/n; it is p(1-p)/n.": _wilson(
            inside=lambda p, n, z: p / n + z * z / (4 * n * n)
        ),
        "The root is missing.": _wilson(width=lambda inside, z: z * inside),
        "The half width is not multiplied by z: this is one standard deviation, 68%.": _wilson(
            width=lambda inside, z: math.sqrt(inside)
        ),
        "z stands where z² belongs.": _wilson(
            lambda p, n, z: p + z / (2 * n),
            lambda p, n, z: p * (1 - p) / n + z / (4 * n * n),
            lambda n, z: (1 + z / n,) * 2,
        ),
        **{
            f"This is an interval of {part}; for 95% z is 1.959964.": _wilson(z=z)
            for part, z in (("90%", 1.644854), ("99%", 2.575829), ("68%, with z = 1", 1.0))
        },
        "z is 0.95, the share; for an interval of 95% it is 1.959964.": _wilson(z=0.95),
        "z is rounded to 2; for 95% it is 1.959964.": _wilson(z=2.0),
        "The interval is twice as wide as it should be.": _wilson(
            width=lambda inside, z: 2 * z * math.sqrt(inside)
        ),
        "The interval is half as wide as it should be: middle - half and middle + half.": _wilson(
            width=lambda inside, z: z / 2 * math.sqrt(inside)
        ),
        "low and high are exchanged.": _filled(lambda p, low, high, n: (p, high, low, n)),
        "The order is low, share, high; it should be share, low, high.": _filled(
            lambda p, low, high, n: (low, p, high, n)
        ),
        "The share is the middle of the interval; it should be p, as it was seen.": _filled(
            lambda p, low, high, n: ((low + high) / 2, low, high, n)
        ),
        "The share is how many are right: divide by n.": _filled(
            lambda p, low, high, n: (p * n, low, high, n)
        ),
        "In place of low and high there are the middle and half the width: return "
        "middle - half and middle + half.": _filled(
            lambda p, low, high, n: (p, (low + high) / 2, (high - low) / 2, n)
        ),
        "number is how many are right; it should be how many there are, len(right).": _filled(
            lambda p, low, high, n: (p, low, high, round(p * n))
        ),
        "number is fixed, 144; it should be how many there are, len(right).": _filled(
            lambda p, low, high, n: (p, low, high, 144)
        ),
        "These are percent; shares from 0 to 1 are expected.": _filled(
            lambda p, low, high, n: (100 * p, 100 * low, 100 * high, n)
        ),
    },
)
