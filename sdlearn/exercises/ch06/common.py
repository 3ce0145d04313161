"""What exercises of chapter 06 share."""

from types import SimpleNamespace

import torch


def moments(*shape):
    return torch.randn(shape), torch.randn(shape) - 0.5


def gaussian(mean, logvar):
    """What the exercise's `self` holds, with nothing in it that does the work already."""
    return SimpleNamespace(mean=mean, logvar=logvar, std=(logvar / 2).exp())
