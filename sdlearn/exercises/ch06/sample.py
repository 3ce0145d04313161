"""Chapter 06: the exercise `elbo.sample`."""

import numpy as np
import torch

from sdlearn.exercises.bank import Case, Exercise, learnt, slopes
from sdlearn.exercises.ch06.common import SELF, gaussian, moments
from sdlearn.vae import DiagonalGaussian


def _sample_cases():
    def case(seed, shape, label, look=None):
        yield Case((*moments(*shape), torch.Generator().manual_seed(seed), look), label)

    yield from case(1, (3, 5), "latents are [B, D]")
    yield from case(2, (2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case((*moments(2, 6), None, None), "no generator is handed in")
    yield from case(3, (3, 5), "gradient by the mean", "mean")
    yield from case(4, (3, 5), "gradient by logvar", "logvar")
    yield from case(5, (4, 2500), "there are 10,000 latents")
    yield from case(6, (3, 5), "latents are double", "double")


def _run_sample(answer, mean, logvar, generator, look):
    """The draw, and what `look` asks for; without a generator, by how much two draws differ."""
    if look in ("mean", "logvar"):
        return _with_gradient(answer, mean, logvar, generator, look)
    if generator is None:
        again = gaussian(mean.clone(), logvar.clone())  # an answer may change them in place
        first, second = answer(gaussian(mean, logvar)), answer(again, None)
        both = isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
        return second - first if both else first
    draw = answer(gaussian(mean, logvar), generator)
    if look == "double" and isinstance(draw, torch.Tensor):
        # Noise of another dtype has other numbers: only the dtype of the second draw counts.
        wide = answer(gaussian(mean.double(), logvar.double()), generator)
        return draw.to(wide.dtype) if isinstance(wide, torch.Tensor) else wide
    return draw


def _with_gradient(answer, mean, logvar, generator, by):
    """The draw and its gradient, as numbers do not show what reaches the encoder."""
    mean, logvar = learnt(mean.clone()), learnt(logvar.clone())
    draw = answer(gaussian(mean, logvar), generator)
    if not isinstance(draw, torch.Tensor) or draw.shape != mean.shape:
        return draw
    learner = mean if by == "mean" else logvar
    return torch.stack([draw.detach(), slopes(draw, [learner]).view_as(draw)])


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
    advice={
        "missing 1 required positional argument: 'generator'": "The course calls sample without a "
        "generator as well: keep the first line, (self, generator=None).",
        r"randn\(\) received an invalid": "torch.randn takes a shape, and the generator by name: "
        "torch.randn(self.mean.shape, generator=generator).",
        **SELF,
    },
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
        "There is no noise in it: this is mean + std. Multiply self.std by torch.randn.": _draw(
            lambda q, e: q.mean + q.std + 0 * e
        ),
        "The noise is uniform between -1 and 1; it should be normal: torch.randn in place of "
        "torch.rand.": lambda self, generator=None: (
            self.mean + self.std * (2 * torch.rand(self.mean.shape, generator=generator) - 1)
        ),
        "The noise is scaled by half of self.std: the half is too much. The 2 of exp(logvar / 2) "
        "is in self.std already.": _draw(lambda q, e: q.mean + q.std / 2 * e),
        "The noise is scaled by the standard deviation times the variance; self.std alone belongs "
        "there.": _draw(lambda q, e: q.mean + q.std**3 * e),
        "One standard deviation, the average, is used for all latents; each has its own: self.std "
        "as it is.": _draw(lambda q, e: q.mean + q.std.mean() * e),
        "The noise is scaled by 1 - std; it is scaled by self.std.": _draw(
            lambda q, e: q.mean + (1 - q.std) * e
        ),
        "The noise is scaled by logvar / 2, which is log σ; the standard deviation is its "
        "exponential, self.std.": _draw(lambda q, e: q.mean + q.logvar / 2 * e),
        "The noise is cut off at -3 and 3; a normal distribution goes on: leave out the "
        "clamp.": _draw(lambda q, e: q.mean + q.std * e.clamp(-3, 3)),
        "The noise is drawn for one picture after the other. That has the same distribution, but "
        "the check compares numbers: one torch.randn, in the shape of the "
        "mean.": lambda self, generator=None: (
            self.mean
            + self.std * torch.stack([torch.randn(m.shape, generator=generator) for m in self.mean])
        ),
        "The noise is drawn in double precision. That has the same distribution, but the check "
        "compares numbers: torch.randn in the dtype of the mean.": lambda self, generator=None: (
            self.mean
            + self.std
            * torch.randn(self.mean.shape, generator=generator, dtype=torch.float64).float()
        ),
        "The noise does not come from the generator, and no gradient gets through: torch.normal "
        "and Normal(…).sample() cut it off. Draw the noise alone: torch.randn, "
        "generator=generator.": lambda self, generator=None: torch.normal(
            self.mean, self.std
        ).detach(),
        "A number is drawn from the generator before the noise: use it only "
        "once.": lambda self, generator=None: (
            self.mean
            + 0 * torch.randn(1, generator=generator)
            + self.std * torch.randn(self.mean.shape, generator=generator)
        ),
        "The noise is the second that is drawn from the generator: draw "
        "once.": lambda self, generator=None: (
            self.mean
            + 0 * torch.randn(self.mean.shape, generator=generator)
            + self.std * torch.randn(self.mean.shape, generator=generator)
        ),
        "Without a generator two draws have to differ, and yours are the same. torch.randn takes "
        "generator=None as well, and draws new noise at each call: no seed of your own, and no "
        "case for None.": lambda self, generator=None: (
            self.mean
            + (0 if generator is None else torch.randn(self.mean.shape, generator=generator))
            * self.std
        ),
    },
)
