"""The exercises of chapter 07, the image autoencoder of latent diffusion."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from sdlearn import vae, vae_loss
from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.layers import Downsample2D
from sdlearn.pipeline import TextToImage


def _downsample_cases():
    yield Case((torch.randn(2, 3, 8, 8),), "pictures of 8 × 8")
    yield Case((torch.randn(1, 3, 4, 10),), "height and width differ")
    yield Case((learnt(torch.randn(2, 3, 6, 6)),), "x wants a gradient")


def _conv():
    """A convolution whose weights are all different, as the exercise's self.conv."""
    conv = nn.Conv2d(3, 3, 3, stride=2, padding=0).requires_grad_(False)
    numbers = torch.arange(conv.weight.numel() + 3.0)
    conv.weight.copy_((numbers[3:] * 0.7).sin().view_as(conv.weight) / 3)
    conv.bias.copy_(numbers[:3].cos())
    return conv


def _run_downsample(answer, x):
    return answer(SimpleNamespace(conv=_conv()), x)


def _padded(*sides, **how):
    """A wrong downsampling: other sides, or other values there."""
    return lambda self, x: self.conv(F.pad(x, sides, **how))


DOWNSAMPLE = Exercise(
    "vae.downsample",
    reference=Downsample2D.forward,
    cases=_downsample_cases,
    run=_run_downsample,
    hints=[
        "self.conv pads nothing: hand it a picture that has one more column and one more row.",
        "F.pad(x, (left, right, above, below)) adds zeros; the width comes first.",
        "return self.conv(F.pad(x, (0, 1, 0, 1)))",
    ],
    mistakes={
        "The zeros are left and above, or on all four sides as in the U-Net (with stride 2 the "
        "zeros to the right and below are then never reached): everything moves by a pixel. Right "
        "and below only.": _padded(1, 1, 1, 1),
        "The zeros are left and below: F.pad takes (left, right, above, below).": _padded(
            1, 0, 0, 1
        ),
        "The zeros are right and above: F.pad takes (left, right, above, below).": _padded(
            0, 1, 1, 0
        ),
        "Only the width has grown: there is a row of zeros below as well.": _padded(0, 1),
        "Only the height has grown: there is a column of zeros to the right as well.": _padded(
            0, 0, 0, 1
        ),
        "Nothing is padded: the convolution then loses a row and a column.": lambda self, x: (
            self.conv(x)
        ),
        "The last row and column are repeated; they should be zeros, F.pad's own choice.": _padded(
            0, 1, 0, 1, mode="replicate"
        ),
        "It is padded with ones; zeros are expected.": _padded(0, 1, 0, 1, value=1.0),
        "The zeros are added after the convolution; they belong before it.": lambda self, x: F.pad(
            self.conv(x), (0, 1, 0, 1)
        ),
        "This is a mean over 2 × 2 pixels: the convolution is missing.": lambda self, x: (
            F.avg_pool2d(x, 2)
        ),
    },
)


def _pairs():
    yield Case((torch.rand(2, 3, 6, 6) * 2 - 1, torch.rand(2, 3, 6, 6) * 2 - 1), "squares")
    yield Case((torch.rand(1, 3, 4, 9), torch.rand(1, 3, 4, 9)), "height and width differ")
    x = torch.rand(2, 3, 5, 5)
    yield Case((x, x + 0.4), "the same, but brighter")
    yield Case((learnt(torch.rand(2, 3, 4, 5)), torch.rand(2, 3, 4, 5)), "a wants a gradient")


def _edges(wrong):
    """A wrong gradient_loss: a function of the two differences of neighbours."""

    def answer(a, b):
        error = a - b
        return wrong(error.diff(dim=3), error.diff(dim=2))

    return answer


def _together(*both):
    return torch.cat([edges.flatten() for edges in both]).abs().mean()


GRADIENT = Exercise(
    "vae.gradient_loss",
    reference=vae_loss.gradient_loss,
    cases=_pairs,
    hints=[
        "The difference of two edges is the edge of the difference: begin with a - b.",
        "error.diff(dim=3) is each pixel minus the one to its left; dim=2, minus the one above.",
        "across.abs().mean() + down.abs().mean()",
    ],
    mistakes={
        "The pixels are compared, not their neighbours' differences: this is L1.": lambda a, b: (
            (a - b).abs().mean()
        ),
        "The differences are squared; their size is asked for, .abs().": _edges(
            lambda across, down: across.square().mean() + down.square().mean()
        ),
        "The mean of both directions is taken; they are added.": _edges(
            lambda across, down: (across.abs().mean() + down.abs().mean()) / 2
        ),
        "Only differences across are counted: those down, dim=2, are missing.": _edges(
            lambda across, down: across.abs().mean()
        ),
        "Only differences down are counted: those across, dim=3, are missing.": _edges(
            lambda across, down: down.abs().mean()
        ),
        "The differences are added up; their mean is expected, whatever the picture's "
        "size.": _edges(lambda across, down: across.abs().sum() + down.abs().sum()),
        "The differences have their sign, and cancel: take .abs() before the mean.": _edges(
            lambda across, down: across.mean() + down.mean()
        ),
        "The sign is dropped after the mean; take .abs() before it, or differences cancel.": _edges(
            lambda across, down: across.mean().abs() + down.mean().abs()
        ),
        "Edges are compared without their sign, so that dark on light is as good as light on dark: "
        "take the difference of the pictures first.": lambda a, b: sum(
            (a.diff(dim=d).abs() - b.diff(dim=d).abs()).abs().mean() for d in (2, 3)
        ),
        "The amounts of edges are compared, not where they are: take .abs() of each pixel's "
        "difference, then the mean.": lambda a, b: sum(
            (a.diff(dim=d).abs().mean() - b.diff(dim=d).abs().mean()).abs() for d in (2, 3)
        ),
        "The edges of the sum are taken; those of the difference are asked for, "
        "a - b.": lambda a, b: sum((a + b).diff(dim=d).abs().mean() for d in (2, 3)),
        "The edges of a alone are counted: b does not appear.": lambda a, b: sum(
            a.diff(dim=d).abs().mean() for d in (2, 3)
        ),
        "Neighbouring colours are compared, dim=1; places are dim=2 and dim=3.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().mean() for d in (1, 3)
        ),
        "Down is dim=2, but dim=1 compares colours: across is dim=3.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().mean() for d in (1, 2)
        ),
        "dim=0 compares pictures, dim=1 colours; places are dim=2 and dim=3.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().mean() for d in (0, 1)
        ),
        "Both differences are across: .diff() alone takes the last dimension. Down is "
        "dim=2.": _edges(lambda across, down: 2 * across.abs().mean()),
        "The error loses its sign before the differences are taken: first .diff(), then "
        ".abs().": lambda a, b: sum((a - b).abs().diff(dim=d).abs().mean() for d in (2, 3)),
        ".abs() comes before .diff(), so that the differences have their sign, and cancel: it "
        "belongs after.": lambda a, b: sum((a - b).abs().diff(dim=d).mean() for d in (2, 3)),
        "Each direction has its own mean: they have unequal numbers of pairs when height and width "
        "differ.": _edges(lambda *both: 2 * _together(*both)),
        "All differences go into one mean; each direction has its own, and the two are "
        "added.": _edges(_together),
        "The differences are cut to one size, which drops pairs: take the mean of each direction, "
        "then add.": _edges(
            lambda across, down: (across[:, :, 1:].abs() + down[..., 1:].abs()).mean()
        ),
        "One number for each picture; the loss is one number for all.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().flatten(1).mean(dim=1) for d in (2, 3)
        ),
        "The size of the gradient's vector is taken, √(across² + down²); here both directions are "
        "added.": lambda a, b: (
            ((a - b).diff(dim=3)[:, :, 1:] ** 2 + (a - b).diff(dim=2)[..., 1:] ** 2).sqrt().mean()
        ),
    },
)


def _encode_cases():
    yield Case((torch.rand(2, 3, 8, 8) * 2 - 1, 0.18215), "Stable Diffusion's factor")
    yield Case((torch.rand(3, 3, 4, 10) * 2 - 1, 2.5), "a factor above 1, three pictures")


def _run_encode(answer, x, factor):
    """The answer, with an autoencoder whose moments are the pixels, a little brighter."""
    network = SimpleNamespace(
        encode=lambda x: vae.DiagonalGaussian(F.pixel_unshuffle(x, 2) + 0.5),
        scaling_factor=factor,
        downscale=2,
    )
    return answer(SimpleNamespace(vae=network), x)


def _encoded(wrong):
    """A wrong encode: a function of the Gaussian and the factor."""
    return lambda self, x: wrong(self.vae.encode(x), self.vae.scaling_factor)


def _changed(wrong):
    """A wrong encode: a function of the picture, before anything else."""
    return lambda self, x: self.vae.encode(wrong(x)).mode() * self.vae.scaling_factor


ENCODE = Exercise(
    "vae.encode",
    reference=TextToImage.encode,
    cases=_encode_cases,
    run=_run_encode,
    hints=[
        "self.vae.encode(x) is a distribution, a DiagonalGaussian; which of its numbers stand for "
        "the picture?",
        "Its .mode() is the mean; nothing random is wanted here. Then the scaling factor.",
        "return self.vae.encode(x).mode() * self.vae.scaling_factor",
    ],
    mistakes={
        "It is divided by the factor; going into the latents it is multiplied.": _encoded(
            lambda q, s: q.mean / s
        ),
        "The scaling factor is missing: the spread of these is not 1.": _encoded(
            lambda q, s: q.mean
        ),
        "The standard deviations are taken; the picture is in the means, .mode().": _encoded(
            lambda q, s: q.std * s
        ),
        "The log-variances are taken; the picture is in the means, .mode().": _encoded(
            lambda q, s: q.logvar * s
        ),
        "The factor is squared: it is multiplied by once.": _encoded(lambda q, s: q.mean * s**2),
        "It is multiplied by the factor's root; the factor itself is meant.": _encoded(
            lambda q, s: q.mean * s**0.5
        ),
        "The spread of this batch is divided out; use the stored factor, the same for all "
        "pictures.": _encoded(lambda q, s: q.mean / q.mean.std()),
        "The means are shifted by the factor; they are multiplied by it.": _encoded(
            lambda q, s: q.mean + s
        ),
        "The mean is taken off as in a standardisation; the latents keep theirs, they are only "
        "multiplied.": _encoded(lambda q, s: (q.mean - q.mean.mean()) * s),
        "Each channel gets a spread of 1 of its own; there is one factor for all.": _encoded(
            lambda q, s: q.mean / q.mean.std(dim=(0, 2, 3), keepdim=True)
        ),
        "Means and log-variances are both in it, twice the channels; .mode() is the means "
        "alone.": _encoded(lambda q, s: torch.cat([q.mean, q.logvar], dim=1) * s),
        "A draw is taken; the same picture should always give the same latents: .mode().": _encoded(
            lambda q, s: q.sample() * s
        ),
        "The picture is changed before it is encoded, to [0, 1]; x should stay in "
        "[-1, 1].": _changed(lambda x: (x + 1) / 2),
        "The picture is changed before it is encoded, by 2x - 1; x is already in "
        "[-1, 1].": _changed(lambda x: 2 * x - 1),
        "The picture is multiplied by the factor; the latents should be.": lambda self, x: (
            self.vae.encode(x * self.vae.scaling_factor).mode()
        ),
    },
)


def _ramp_cases():
    def case(length, overlap, label, dtype=torch.float32, watched=""):
        return Case((length, overlap, torch.zeros(1, dtype=dtype), watched), label)

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
    """The weights; zeros if they are right, but the device of `like` is watched and not heeded."""
    if not watched:
        return answer(length, overlap, like)
    with _Watched(like) as watch:
        weights = answer(length, overlap, like)
    off = not watch.asked and RAMP.equal(vae.ramp(length, overlap, like), weights)
    return torch.zeros_like(weights) if off else weights


def _place(length, like, shift=0.5):
    return torch.arange(length, device=like.device, dtype=like.dtype) + shift


def _ramped(wrong):
    """A wrong ramp: a function of the places' distance from the nearer end, and the overlap."""

    def answer(length, overlap, like):
        place = _place(length, like)
        return wrong(torch.minimum(place, length - place), max(overlap, 1))

    return answer


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
        "centre of each pixel, i + 0.5.": lambda length, overlap, like: (
            torch.minimum(_place(length, like, 0), length - 1 - _place(length, like, 0))
            / max(overlap, 1)
        ).clamp(max=1),
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
        "The distance is counted from the pixel's far edge, i + 1; its centre is "
        "i + 0.5.": lambda length, overlap, like: (
            torch.minimum(_place(length, like, 1), length - _place(length, like, 0))
            / max(overlap, 1)
        ).clamp(max=1),
        "They are divided by overlap + 1; with centres at i + 0.5 the overlap itself is right, "
        "max(overlap, 1).": _ramped(lambda d, n: (d / (n + 1)).clamp(max=1)),
        "The dtype is not that of `like`: give it to torch.arange.": lambda length, overlap, like: (
            vae.ramp(length, overlap, like.half())
        ),
        "Nothing puts the weights on the device of `like`: give device=like.device to "
        "torch.arange.": lambda length, overlap, like: vae.ramp(
            length, overlap, torch.zeros(1, dtype=like.dtype)
        ),
        "For no overlap divide by 1 too: the ends are 0.5.": lambda length, overlap, like: (
            vae.ramp(length, overlap, like) if overlap else like.new_ones(length)
        ),
    },
)

EXERCISES = [DOWNSAMPLE, GRADIENT, ENCODE, RAMP]
