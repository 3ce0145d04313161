"""Chapter 07: the exercise `vae.downsample`."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.layers import Downsample2D


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
