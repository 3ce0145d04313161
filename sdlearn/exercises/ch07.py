"""The exercises of chapter 07, the image autoencoder of latent diffusion."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn import vae, vae_loss
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.layers import Downsample2D
from sdlearn.pipeline import TextToImage


def _downsample_cases():
    yield Case((torch.randn(2, 3, 8, 8),), "pictures of 8 × 8")
    yield Case((torch.randn(1, 3, 4, 10),), "height and width differ")


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
        "The zeros are left and above, or on all four sides as in the U-Net (of which stride 2 "
        "uses no others): everything moves by a pixel. Right and below only.": _padded(1, 1, 1, 1),
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


def _edges(wrong):
    """A wrong gradient_loss: a function of the two differences of neighbours."""

    def answer(a, b):
        error = a - b
        return wrong(error.diff(dim=3), error.diff(dim=2))

    return answer


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
    yield Case((torch.randn(2, 8, 4, 4), 0.18215), "Stable Diffusion's factor")
    yield Case((torch.randn(3, 6, 2, 5), 2.5), "a factor above 1, three channels")


def _run_encode(answer, moments, factor):
    """The answer, with an autoencoder whose moments are known."""
    network = SimpleNamespace(
        encode=lambda x: vae.DiagonalGaussian(moments.clone()), scaling_factor=factor, downscale=4
    )
    height, width = moments.shape[2:]
    return answer(SimpleNamespace(vae=network), torch.zeros(len(moments), 3, 4 * height, 4 * width))


def _encoded(wrong):
    """A wrong encode: a function of the Gaussian and the factor."""
    return lambda self, x: wrong(self.vae.encode(x), self.vae.scaling_factor)


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
    },
)


def _ramp_cases():
    yield Case((10, 4, torch.zeros(1)), "10 long, 4 shared at each end")
    yield Case((7, 2, torch.zeros(1, dtype=torch.float64)), "an odd length, in double precision")
    yield Case((6, 5, torch.zeros(1)), "more than half is shared")
    yield Case((5, 0, torch.zeros(1)), "nothing is shared")


def _right_ramp(length, overlap, like):
    return vae.ramp(length, overlap, like)


def _place(length, like, shift=0.5):
    return torch.arange(length, dtype=like.dtype) + shift


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
        "show.": lambda length, overlap, like: torch.ones(length, dtype=like.dtype),
        "The weights are squared: two of them no longer add up to 1 where tiles "
        "overlap.": lambda *args: _right_ramp(*args) ** 2,
        "The distance is counted from the pixel's far edge, i + 1; its centre is "
        "i + 0.5.": lambda length, overlap, like: (
            torch.minimum(_place(length, like, 1), length - _place(length, like, 0))
            / max(overlap, 1)
        ).clamp(max=1),
        "They are divided by overlap + 1; with centres at i + 0.5 the overlap itself is right, "
        "max(overlap, 1).": _ramped(lambda d, n: (d / (n + 1)).clamp(max=1)),
        "The dtype is not that of `like`: give it to torch.arange.": lambda length, overlap, like: (
            _right_ramp(length, overlap, torch.zeros(1, dtype=torch.float16))
        ),
    },
)

EXERCISES = [DOWNSAMPLE, GRADIENT, ENCODE, RAMP]
