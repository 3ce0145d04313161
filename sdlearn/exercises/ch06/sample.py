"""Chapter 06: the exercise `elbo.sample`."""

import numpy as np
import torch

from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.exercises.ch06.common import gaussian, moments
from sdlearn.vae import DiagonalGaussian


def _sample_cases():
    def case(seed, shape, label, gradient=None):
        yield Case((*moments(*shape), torch.Generator().manual_seed(seed), gradient), label)

    yield from case(1, (3, 5), "latents are [B, D]")
    yield from case(2, (2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case((*moments(2, 6), None, None), "generator is None")
    yield from case(3, (3, 5), "gradient by the mean", "mean")
    yield from case(4, (3, 5), "gradient by logvar", "logvar")


def _run_sample(answer, mean, logvar, generator, gradient):
    """The draw; or its gradient, as numbers do not show what reaches the encoder."""
    if gradient:
        mean, logvar = learnt(mean.clone()), learnt(logvar.clone())
    draw = answer(gaussian(mean, logvar), generator)
    if not gradient or not isinstance(draw, torch.Tensor):
        return draw
    by, found = {"mean": mean, "logvar": logvar}[gradient], [None]
    if draw.requires_grad:
        found = torch.autograd.grad(draw.sum(), [by], allow_unused=True)
    return torch.zeros_like(mean.detach()) if found[0] is None else found[0]


def _draw(wrong):
    """A wrong sample: a function of the Gaussian and the noise."""

    def answer(self, generator=None):
        return wrong(self, torch.randn(self.mean.shape, generator=generator))

    return answer


SAMPLE = Exercise(
    "elbo.sample",
    reference=DiagonalGaussian.sample,
    cases=_sample_cases,
    run=_run_sample,
    changes=("generator",),
    hints=[
        "Draw standard normal noise first, in the shape of the mean; then stretch and move it.",
        "torch.randn(self.mean.shape, generator=generator) is the noise.",
        "return self.mean + self.std * noise",
    ],
    mistakes={
        "The noise is scaled by the variance; the standard deviation is its root, self.std.": _draw(
            lambda q, e: q.mean + q.logvar.exp() * e
        ),
        "The noise is scaled by logvar itself; the standard deviation is exp(logvar / 2), "
        "self.std.": _draw(lambda q, e: q.mean + q.logvar * e),
        "The noise is not scaled: multiply it by self.std.": _draw(lambda q, e: q.mean + e),
        "The mean is not added.": _draw(lambda q, e: q.std * e),
        "Mean and standard deviation are exchanged.": _draw(lambda q, e: q.std + q.mean * e),
        "There is no noise in it: this is the mean.": _draw(lambda q, e: q.mean + 0 * q.std * e),
        "The noise is uniform (torch.rand); it "
        "should be normal: torch.randn.": lambda self, generator=None: (
            self.mean + self.std * torch.rand(self.mean.shape, generator=generator)
        ),
        "The noise is taken off, which has the same distribution, but the course adds it, and the "
        "check compares numbers.": _draw(lambda q, e: q.mean - q.std * e),
        "Noise is multiplied into the sum of both; only the standard deviation is "
        "multiplied by it.": _draw(lambda q, e: (q.mean + q.std) * e),
        "The noise does not come from the generator: hand it to torch.randn, "
        "generator=generator.": lambda self, generator=None: (
            self.mean + self.std * torch.randn(self.mean.shape)
        ),
        "All latents of a picture get the same noise: draw one number for each, in the shape of "
        "the mean.": lambda self, generator=None: (
            self.mean
            + self.std
            * torch.randn(len(self.mean), *[1] * (self.mean.dim() - 1), generator=generator)
        ),
        "This is the noise alone: mean and standard deviation do not appear in it.": _draw(
            lambda q, e: e
        ),
        "The noise is scaled by half the variance; the standard deviation is exp(logvar / 2), "
        "self.std.": _draw(lambda q, e: q.mean + q.logvar.exp() / 2 * e),
        "All pictures get the same noise: it needs the whole shape of the "
        "mean.": lambda self, generator=None: (
            self.mean + self.std * torch.randn(self.mean.shape[1:], generator=generator)
        ),
        "No gradient reaches the mean or the standard deviation: torch.normal, .detach(), .data "
        "and no_grad() cut it off. Draw the noise alone, with torch.randn, and compute with "
        "it.": lambda self, generator=None: torch.normal(
            self.mean, self.std, generator=generator
        ).detach(),
        "No gradient reaches the mean: use self.mean as it is, without .detach().": _draw(
            lambda q, e: q.mean.detach() + q.std * e
        ),
        "No gradient reaches the standard deviation: use self.std as it is, without "
        ".detach().": _draw(lambda q, e: q.mean + q.std.detach() * e),
        "One number is the noise of all latents of all pictures: draw one for each, in the shape "
        "of the mean.": lambda self, generator=None: (
            self.mean + self.std * torch.randn(1, generator=generator)
        ),
        "The noise is numpy's, which is float64 and does not come from the generator: take "
        "torch.randn.": lambda self, generator=None: (
            self.mean + self.std * torch.from_numpy(np.random.randn(*self.mean.shape))
        ),
        "The noise is scaled by the root of the standard deviation; self.std is the root of the "
        "variance already.": _draw(lambda q, e: q.mean + q.std.sqrt() * e),
        "exp(2 · logvar) is the square of the variance; the standard deviation is "
        "exp(logvar / 2), self.std.": _draw(lambda q, e: q.mean + (2 * q.logvar).exp() * e),
        "The noise is divided by the standard deviation; multiply it.": _draw(
            lambda q, e: q.mean + e / q.std
        ),
        "The mean is scaled as well; only the noise is multiplied by self.std.": _draw(
            lambda q, e: (q.mean + e) * q.std
        ),
    },
)
