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
    yield Case(
        (torch.randn(1, 3, 6, 4, dtype=torch.float64),), "x and self.conv are in double precision"
    )


def _conv():
    """A convolution whose weights are all different, as the exercise's self.conv."""
    conv = nn.Conv2d(3, 3, 3, stride=2, padding=0).requires_grad_(False)
    numbers = torch.arange(conv.weight.numel() + 3.0)
    conv.weight.copy_((numbers[3:] * 0.7).sin().view_as(conv.weight) / 3)
    conv.bias.copy_(numbers[:3].cos())
    return conv


def _run_downsample(answer, x):
    return answer(SimpleNamespace(conv=_conv().to(x.dtype)), x)


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
        "The last row and column but one are mirrored; there should be zeros, F.pad's own "
        "choice.": _padded(0, 1, 0, 1, mode="reflect"),
        "The convolution's bias is missing: call self.conv itself.": lambda self, x: F.conv2d(
            F.pad(x, (0, 1, 0, 1)), self.conv.weight, stride=2
        ),
        "This is the padded picture: self.conv is still to be called on it.": lambda self, x: F.pad(
            x, (0, 1, 0, 1)
        ),
    },
)


def _pairs():
    yield Case((torch.rand(2, 3, 6, 6) * 2 - 1, torch.rand(2, 3, 6, 6) * 2 - 1), "squares")
    yield Case((torch.rand(1, 3, 4, 9), torch.rand(1, 3, 4, 9)), "height and width differ")
    x = torch.rand(2, 3, 5, 5)
    yield Case((x, x + 0.4), "the same, but brighter")
    yield Case((learnt(torch.rand(2, 3, 4, 5)), torch.rand(2, 3, 4, 5)), "a wants a gradient")
    stripes = torch.arange(6) % 2
    yield Case((torch.rand(2, 3, 5, 6) + stripes, torch.rand(2, 3, 5, 6)), "a has upright stripes")


def _edges(wrong):
    """A wrong gradient_loss: a function of the two differences of neighbours."""

    def answer(a, b):
        error = a - b
        return wrong(error.diff(dim=3), error.diff(dim=2))

    return answer


def _each(wrong):
    """A wrong gradient_loss: a function of the error and the dimension, added up over both."""
    return lambda a, b: sum(wrong(a - b, dim) for dim in (2, 3))


def _amount(x):
    return sum(x.diff(dim=dim).abs().mean() for dim in (2, 3))


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
        "Only the larger of the two directions counts; they are added.": _edges(
            lambda across, down: torch.maximum(across.abs().mean(), down.abs().mean())
        ),
        "The differences down are subtracted; both directions are added.": _edges(
            lambda across, down: across.abs().mean() - down.abs().mean()
        ),
        "It compares how much edge a has in all with how much b has: an edge in another place is "
        "then as good. Take the edges of a - b.": lambda a, b: (_amount(a) - _amount(b)).abs(),
        "The difference of the pixels is in it as well; L1 is a term of its own, here only edges "
        "count.": lambda a, b: (a - b).abs().mean() + _amount(a - b),
        "These are differences of differences, down of those across; take each direction from "
        "a - b, then add.": lambda a, b: (a - b).diff(dim=3).diff(dim=2).abs().mean(),
        "These are differences taken two and three times across: the first argument of .diff() is "
        "n, how often. Write dim=2 and dim=3.": _each(lambda error, n: error.diff(n).abs().mean()),
        "The picture is wrapped round, as by .roll(): its last row and column are compared with "
        "the first, which are no neighbours.": _each(
            lambda error, dim: (error - error.roll(1, dim)).abs().mean()
        ),
        "The first row and column are compared with zeros; they have no neighbour there, and no "
        "difference.": _each(
            lambda error, dim: (
                error.diff(dim=dim, prepend=torch.zeros_like(error.narrow(dim, 0, 1))).abs().mean()
            )
        ),
        "Each pixel's two neighbours are compared with each other, as torch.gradient does; .diff() "
        "compares the pixel with the one before.": _each(
            lambda error, dim: torch.gradient(error, dim=dim)[0].abs().mean()
        ),
        "The sum is divided by the number of pixels; there are fewer differences, one less in each "
        "row and column.": _each(
            lambda error, dim: error.diff(dim=dim).abs().sum() / error.numel()
        ),
        "The channels are averaged first, so that colours cancel: take .abs() before any "
        "mean.": _each(
            lambda error, dim: error.mean(dim=1, keepdim=True).diff(dim=dim).abs().mean()
        ),
        "It is the sum over the three channels; the mean goes over them as well.": _each(
            lambda error, dim: error.diff(dim=dim).abs().sum(dim=1).mean()
        ),
        "The differences of each picture are added up; the mean goes over them as well.": _each(
            lambda error, dim: error.diff(dim=dim).abs().sum(dim=(1, 2, 3)).mean()
        ),
        "It is the root of the mean square; the mean of the sizes is asked for, "
        ".abs().mean().": _each(lambda error, dim: error.diff(dim=dim).square().mean().sqrt()),
        "Only the first picture of the batch counts.": lambda a, b: _amount((a - b)[:1]),
    },
)


def _encode_cases():
    yield Case((torch.rand(2, 3, 8, 8) * 2 - 1, 0.18215), "Stable Diffusion's factor")
    yield Case((torch.rand(3, 3, 8, 12) * 2 - 1, 2.5), "a factor above 1, three pictures")
    yield Case((torch.rand(1, 3, 4, 8) * 2 - 1, 0.13025), "a single picture")


def _run_encode(answer, x, scaling_factor):
    """The answer, with an autoencoder whose moments are the pixels, a little brighter.

    A tensor that was made without asking this autoencoder is replaced by an empty one.
    """
    asked = []

    def encode(x):
        asked.append(x)
        return vae.DiagonalGaussian(F.pixel_unshuffle(x, 2) + 0.5)

    network = SimpleNamespace(encode=encode, scaling_factor=scaling_factor, downscale=2)
    z = answer(SimpleNamespace(vae=network), x)
    return z if asked or not isinstance(z, torch.Tensor) else torch.empty(0)


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
        "self.vae.encode is never called: the picture goes through another autoencoder, such as "
        "the notebook's own vae, or through none.": lambda self, x: x * self.vae.scaling_factor,
        "The factor is always 0.18215, that of Stable Diffusion; each autoencoder has its own, "
        "self.vae.scaling_factor.": _encoded(lambda q, s: q.mean * 0.18215),
    },
)


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

EXERCISES = [DOWNSAMPLE, GRADIENT, ENCODE, RAMP]
