"""What exercises of chapter 11 share."""

import torch


def cloud(n, dim, shift=0.0):
    """A sample [n, dim] whose numbers hang together, in float64."""
    mix = torch.randn(dim, dim, dtype=torch.float64)
    return torch.randn(n, dim, dtype=torch.float64) @ mix + shift
