"""Chapter 07: the exercise `vae.ramp`."""

import torch
from torch.overrides import TorchFunctionMode

from sdlearn import vae
from sdlearn.exercises.bank import Case, Exercise


def _ramp_cases():
    def case(length, overlap, label, dtype=torch.float32, watched=""):
        return Case((length, overlap, torch.full((1,), 1.7, dtype=dtype), watched), label)

    yield case(10, 4, "10 long, 4 shared at each end")
    yield case(7, 2, "an odd length, in double precision", torch.float64)
    yield case(6, 5, "more than half is shared")
    yield case(5, 0, "nothing is shared")
    yield case(8, 3, "like may be on any device", torch.float64, "like")


class _Watched(TorchFunctionMode):
    """Notes whether anything but its dtype is asked of `like`, by which its device is heeded."""

    def __init__(self, like):
        super().__init__()
        self.like, self.asked = like, False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        used = any(one is self.like for one in (*args, *(kwargs or {}).values()))
        self.asked |= used and function != torch.Tensor.dtype.__get__
        return function(*args, **(kwargs or {}))


def _run_ramp(answer, length, overlap, like, watched):
    """The weights; below 0 if they are right, but like's device is watched and not heeded."""
    if not watched:
        return answer(length, overlap, like)
    with _Watched(like) as watch:
        weights = answer(length, overlap, like)
    off = not watch.asked and RAMP.equal(vae.ramp(length, overlap, like), weights)
    return -weights if off else weights


def _place(length, like, shift=0.5):
    return torch.arange(length, device=like.device, dtype=like.dtype) + shift


def _usual(wrong):
    """A wrong ramp, but right for no overlap, and for one so large that the two fades meet.

    So it is found in an answer that has a fault of its own there.
    """

    def answer(length, overlap, like):
        usual = 0 < 2 * overlap <= length
        return (wrong if usual else vae.ramp)(length, overlap, like)

    return answer


def _ramped(wrong):
    """A wrong ramp: a function of the places' distance from the nearer end, and the overlap."""

    def answer(length, overlap, like):
        place = _place(length, like)
        return wrong(torch.minimum(place, length - place), overlap)

    return _usual(answer)


def _sides(rise, fall):
    """A wrong ramp: other distances from the two ends, i + rise and length - i - fall."""

    def answer(length, overlap, like):
        i = _place(length, like, 0)
        return (torch.minimum(i + rise, length - i - fall) / overlap).clamp(max=1)

    return _usual(answer)


def _two_fades(wrong):
    """A wrong ramp: a function of the rising and the falling fade, both brought to 1 at most."""

    def answer(length, overlap, like):
        rising = (_place(length, like) / max(overlap, 1)).clamp(max=1)
        return wrong(rising, rising.flip(0))

    return answer


def _no_overlap(wrong):
    """A wrong ramp, but only for no overlap: a function of length and like."""
    return lambda length, overlap, like: (
        vae.ramp(length, overlap, like) if overlap else wrong(length, like)
    )


def _farther(length, overlap, like):
    place = _place(length, like)
    return (torch.maximum(place, length - place) / max(overlap, 1)).clamp(max=1)


RAMP = Exercise(
    "vae.ramp",
    reference=vae.ramp,
    cases=_ramp_cases,
    run=_run_ramp,
    hints=[
        "Pixel i has its centre at i + 0.5: how far is that from the left end, how far from the "
        "right?",
        "torch.minimum of both, divided by max(overlap, 1), and .clamp(max=1).",
        "place = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5; then "
        "(torch.minimum(place, length - place) / max(overlap, 1)).clamp(max=1)",
    ],
    mistakes={
        "The weights begin at 0: a pixel that only one tile has would be divided by 0. Take the "
        "centre of each pixel, i + 0.5.": _sides(0, 1),
        "The weights begin at 0, and the two ends are not alike: take the centre of each pixel, "
        "i + 0.5, for both distances.": _sides(0, 0),
        "The distance from the right end is 1 too large: it is length - i - 0.5.": _sides(
            0.5, -0.5
        ),
        "The distance from the right end is 0.5 too large: it is length - i - 0.5.": _sides(0.5, 0),
        "The distance from the right end is 1 too small: that end is at length, not at length - 1, "
        "so it is length - i - 0.5.": _sides(0.5, 1.5),
        "The fades run from 0 to 1, both included, as from linspace: the weights begin at 0. At "
        "the centres of the pixels they are (i + 0.5) / overlap.": _ramped(
            lambda d, n: ((d - 0.5) / max(n - 1, 1)).clamp(max=1)
        ),
        "The fades rise in steps of 1 / (overlap + 1), as from linspace without its two ends; at "
        "the centres of the pixels they are (i + 0.5) / overlap.": _ramped(
            lambda d, n: ((d + 0.5) / (n + 1)).clamp(max=1)
        ),
        "The weights only rise: towards the other end they have to fall "
        "again.": lambda length, overlap, like: (_place(length, like) / max(overlap, 1)).clamp(
            max=1
        ),
        "The weights only fall: from the first end on they have to "
        "rise.": lambda length, overlap, like: (
            (length - _place(length, like)) / max(overlap, 1)
        ).clamp(max=1),
        "The weights grow beyond 1 in the middle: .clamp(max=1).": _ramped(lambda d, n: d / n),
        "The weights are not brought to 1 at the end of the overlap: divide by "
        "it.": lambda length, overlap, like: torch.minimum(
            _place(length, like), length - _place(length, like)
        ),
        "They rise over half of the overlap only, and are steeper than they should be.": _ramped(
            lambda d, n: (2 * d / n).clamp(max=1)
        ),
        "They rise over overlap // 2 places only; divide by the whole overlap.": _ramped(
            lambda d, n: (d / (n // 2)).clamp(max=1)
        ),
        "They rise over twice the overlap, and are flatter than they should be.": _ramped(
            lambda d, n: (d / (2 * n)).clamp(max=1)
        ),
        "The weights are upside down, small in the middle.": _ramped(
            lambda d, n: 1 - (d / n).clamp(max=1)
        ),
        "The farther end is taken; the nearer one counts, torch.minimum.": _farther,
        "All weights are 1: that is a plain mean where tiles overlap, and its edges "
        "show.": lambda length, overlap, like: like.new_ones(length),
        "The weights are squared: two of them no longer add up to 1 where tiles "
        "overlap.": lambda *args: vae.ramp(*args) ** 2,
        "The distance is counted from the pixel's far edge, i + 1; its centre is i + 0.5.": _sides(
            1, 0
        ),
        "They are divided by overlap + 1; with centres at i + 0.5 the overlap itself is right, "
        "max(overlap, 1).": _ramped(lambda d, n: (d / (n + 1)).clamp(max=1)),
        "The fade is bent, half a wave of a cosine; d / overlap rises in a straight line.": _ramped(
            lambda d, n: (1 - torch.cos(torch.pi * (d / n).clamp(max=1))) / 2
        ),
        "What is below 1 is lifted to 1, and the rest grows beyond: the limit is .clamp(max=1), "
        "not min=1.": _ramped(lambda d, n: (d / n).clamp(min=1)),
        "The weights are divided by their own sum; the division by the sum of all tiles' weights "
        "comes later.": lambda *args: vae.ramp(*args) / vae.ramp(*args).sum(),
        "When the overlap is more than half the length, a pixel lies in both fades: the smaller of "
        "the two weights counts, but here the falling one replaces the other.": _two_fades(
            lambda rising, falling: torch.where(falling < 1, falling, rising)
        ),
        "When the overlap is more than half the length, a pixel lies in both fades: the smaller of "
        "the two weights counts, torch.minimum, not their product.": _two_fades(torch.mul),
        "The numbers in `like` are in the weights; only its dtype and device are meant, as in "
        ".to(like).": lambda length, overlap, like: vae.ramp(length, overlap, like) * like,
        "The weights are float32, whatever `like` is: .to(like) at the end gives them its dtype "
        "and device.": lambda length, overlap, like: vae.ramp(length, overlap, like.float()),
        "The weights are float64, as NumPy's are, whatever `like` is: .to(like) at the end gives "
        "them its dtype and device.": lambda length, overlap, like: vae.ramp(
            length, overlap, like.double()
        ),
        "Nothing puts the weights on the device of `like`: give device=like.device to "
        "torch.arange.": lambda length, overlap, like: vae.ramp(
            length, overlap, torch.zeros(1, dtype=like.dtype)
        ),
        "For no overlap divide by 1 too: the ends are 0.5.": _no_overlap(
            lambda length, like: like.new_ones(length)
        ),
        "For no overlap all weights are 0, and the picture would be divided by 0: divide by 1, the "
        "ends are 0.5 and all between 1.": _no_overlap(lambda length, like: like.new_zeros(length)),
        "For no overlap a single number comes back; there is a weight for each of the `length` "
        "places.": _no_overlap(lambda length, like: like.new_ones(())),
    },
)
