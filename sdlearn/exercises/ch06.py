"""The exercises of chapter 06, the variational autoencoder."""

import math
from types import SimpleNamespace

import numpy as np
import torch

from sdlearn import elbo
from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.vae import DiagonalGaussian


def _moments(*shape):
    return torch.randn(shape), torch.randn(shape) - 0.5


def _gaussian(mean, logvar):
    """What the exercise's `self` holds, with nothing in it that does the work already."""
    return SimpleNamespace(mean=mean, logvar=logvar, std=(logvar / 2).exp())


def _sample_cases():
    def case(seed, shape, label, gradient=None):
        yield Case((*_moments(*shape), torch.Generator().manual_seed(seed), gradient), label)

    yield from case(1, (3, 5), "latents are [B, D]")
    yield from case(2, (2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case((*_moments(2, 6), None, None), "generator is None")
    yield from case(3, (3, 5), "gradient by the mean", "mean")
    yield from case(4, (3, 5), "gradient by logvar", "logvar")


def _run_sample(answer, mean, logvar, generator, gradient):
    """The draw; or its gradient, as numbers do not show what reaches the encoder."""
    if gradient:
        mean, logvar = learnt(mean.clone()), learnt(logvar.clone())
    draw = answer(_gaussian(mean, logvar), generator)
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


def _kl_cases():
    yield Case(_moments(3, 5), "latents are [B, D]")
    yield Case(_moments(2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case((torch.zeros(2, 3), torch.full((2, 3), -1.0)), "the mean is 0")
    yield Case((torch.randn(2, 3), torch.zeros(2, 3)), "the variance is 1")
    mean, logvar = _moments(2, 3)
    yield Case((learnt(mean), logvar), "the mean is learnt")
    mean, logvar = _moments(2, 3)
    yield Case((mean, learnt(logvar)), "the variance is learnt")


def _run_kl(answer, mean, logvar):
    return answer(_gaussian(mean, logvar))


def _summed(wrong):
    """A wrong kl: a function of the Gaussian that gives one number for each latent."""
    return lambda self: wrong(self).flatten(1).sum(dim=1)


def _right_kl(q):
    return (q.mean**2 + q.std**2 - 1 - q.logvar) / 2


def _log_ratio(q, z):
    """log q(z) / p(z) for the prior p = N(0, 1)."""
    return (z**2 - ((z - q.mean) / q.std) ** 2 - q.logvar) / 2


KL = Exercise(
    "elbo.kl",
    reference=DiagonalGaussian.kl,
    cases=_kl_cases,
    run=_run_kl,
    hints=[
        "First the formula for each latent, a tensor like the mean: μ is self.mean, σ is self.std "
        "and log σ² is self.logvar as it stands.",
        "Then add up all latents of a picture: .flatten(1).sum(dim=1) leaves one number for each.",
        "kl = (self.mean**2 + self.std**2 - 1 - self.logvar) / 2",
    ],
    mistakes={
        "This is the mean over the latents; the KL is their sum, .flatten(1).sum(dim=1). A mean "
        "would make it smaller the more latents there are.": lambda self: (
            _right_kl(self).flatten(1).mean(dim=1)
        ),
        "This is the sum over the whole batch; one number for each picture is expected: "
        ".flatten(1).sum(dim=1).": lambda self: _right_kl(self).sum(),
        "This is one number for the batch, its mean; one for each picture is expected: leave the "
        ".mean() to the loss.": lambda self: _right_kl(self).flatten(1).sum(dim=1).mean(),
        "The latents of a picture are not added up: .flatten(1).sum(dim=1).": _right_kl,
        "The half is missing: divide by 2.": _summed(lambda q: 2 * _right_kl(q)),
        "Yours is minus the KL, the form that is added to the ELBO; the KL itself is positive: "
        "turn the signs.": _summed(lambda q: -_right_kl(q)),
        "The mean is not squared.": _summed(lambda q: (q.mean + q.std**2 - 1 - q.logvar) / 2),
        "The standard deviation is not squared: it is σ², self.std**2 or "
        "self.logvar.exp().": _summed(lambda q: (q.mean**2 + q.std - 1 - q.logvar) / 2),
        "log σ² is self.logvar as it stands; yours takes half of it, log σ.": _summed(
            lambda q: (q.mean**2 + q.std**2 - 1 - q.logvar / 2) / 2
        ),
        "log σ² is added; it is taken off.": _summed(
            lambda q: (q.mean**2 + q.std**2 - 1 + q.logvar) / 2
        ),
        "The term log σ² is missing.": _summed(lambda q: (q.mean**2 + q.std**2 - 1) / 2),
        "The -1 is missing: with mean 0 and variance 1 the KL has to be 0.": _summed(
            lambda q: (q.mean**2 + q.std**2 - q.logvar) / 2
        ),
        "The 1 is added; it is taken off: with mean 0 and variance 1 the KL has to be 0.": _summed(
            lambda q: (q.mean**2 + q.std**2 + 1 - q.logvar) / 2
        ),
        "The -1 is taken off once for each picture; it belongs to every latent: inside the "
        "sum.": lambda self: (_right_kl(self) + 0.5).flatten(1).sum(dim=1) - 1,
        "The -1 is taken off after the sum, once for each picture; it belongs to every latent: "
        "inside the sum.": lambda self: (_right_kl(self) + 0.5).flatten(1).sum(dim=1) - 0.5,
        "This is the mean over everything; one sum for each picture is expected: "
        ".flatten(1).sum(dim=1).": lambda self: _right_kl(self).mean(),
        "This is the sum over the pictures; it goes over the latents of each: "
        ".flatten(1).sum(dim=1).": lambda self: _right_kl(self).sum(dim=0),
        "Only dimension 1 is added up: latents may be [B, C, H, W] as well, so .flatten(1) "
        "first.": lambda self: _right_kl(self).sum(dim=1),
        "Only the last dimension is added up: latents may be [B, C, H, W] as well, so "
        ".flatten(1) first.": lambda self: _right_kl(self).sum(dim=-1),
        "self.logvar stands where σ² belongs: the variance is self.std**2 or "
        "self.logvar.exp().": _summed(lambda q: (q.mean**2 + q.logvar - 1 - q.logvar) / 2),
        "σ² is squared once more: self.logvar.exp() is the variance already.": _summed(
            lambda q: (q.mean**2 + q.std**4 - 1 - q.logvar) / 2
        ),
        "The root of the standard deviation is taken for the variance: it is its square, "
        "self.std**2.": _summed(lambda q: (q.mean**2 + q.std.sqrt() - 1 - q.logvar) / 2),
        "log σ² is self.logvar as it stands; yours is twice that.": _summed(
            lambda q: (q.mean**2 + q.std**2 - 1 - 2 * q.logvar) / 2
        ),
        "A logarithm is taken of self.logvar, which is a logarithm already: use it as it "
        "stands.": _summed(lambda q: (q.mean**2 + q.std**2 - 1 - q.logvar.log()) / 2),
        "The logarithm has base 2; nats need the natural one, torch.log, and self.logvar is that "
        "already.": _summed(lambda q: (q.mean**2 + q.std**2 - 1 - q.logvar / math.log(2)) / 2),
        "The logarithm has base 10; nats need the natural one, torch.log, and self.logvar is that "
        "already.": _summed(lambda q: (q.mean**2 + q.std**2 - 1 - q.logvar / math.log(10)) / 2),
        "This is log q/p at one draw; the formula above is its mean over all draws, and needs "
        "none.": _summed(
            lambda q: _log_ratio(q, q.mean + q.std * torch.randn_like(q.mean)),
        ),
        "This is log q/p at the mean of q alone; the KL is its mean over all draws.": _summed(
            lambda q: _log_ratio(q, q.mean)
        ),
        "No gradient reaches the variance: use self.std and self.logvar as they are, without "
        ".detach().": _summed(
            lambda q: (q.mean**2 + q.std.detach() ** 2 - 1 - q.logvar.detach()) / 2
        ),
        "No gradient reaches the mean: use self.mean as it is, without .detach().": _summed(
            lambda q: (q.mean.detach() ** 2 + q.std**2 - 1 - q.logvar) / 2
        ),
        "No gradient gets through: .detach(), .data and no_grad() cut it off, and the encoder "
        "would learn nothing from the KL.": _summed(lambda q: _right_kl(q).detach()),
        "The mean's square is missing: codes far from 0 have to cost something.": _summed(
            lambda q: (q.std**2 - 1 - q.logvar) / 2
        ),
        "Brackets are missing: all four terms are divided by 2, not the last alone.": _summed(
            lambda q: q.mean**2 + q.std**2 - 1 - q.logvar / 2
        ),
        "This is the KL the other way round, from N(0, 1) to q; here q comes first.": _summed(
            lambda q: ((1 + q.mean**2) / q.std**2 - 1 + q.logvar) / 2
        ),
    },
)


def _nll_cases():
    def pictures(*shape):
        return torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1

    yield Case((*pictures(2, 3, 4, 4), 0.3), "pictures, b = 0.3")
    yield Case((*pictures(3, 5), 1.7), "points [B, D], b = 1.7")
    yield Case((*pictures(2, 3, 4, 4), 0.5), "b = 0.5, where log 2b is 0")
    x, mean = pictures(2, 6)
    yield Case((x, learnt(mean), 0.3), "the mean comes from a decoder that learns")


def _nll(wrong):
    """A wrong laplace_nll: a function of x, mean and b that gives one number for each pixel."""

    def answer(x, mean, scale):
        return (wrong(x, mean, scale) + torch.zeros_like(x)).flatten(1).sum(dim=1)

    return answer


def _right_nll(x, mean, scale):
    return (x - mean).abs() / scale + math.log(2 * scale)


NLL = Exercise(
    "elbo.laplace_nll",
    reference=elbo.laplace_nll,
    cases=_nll_cases,
    hints=[
        "First the formula for each pixel, a tensor like x; scale is b.",
        "scale is a plain number, so math.log(2 * scale) will do for the second term.",
        "nll = (x - mean).abs() / scale + math.log(2 * scale); then .flatten(1).sum(dim=1).",
    ],
    mistakes={
        "This is the mean over the pixels; log p(x) is their sum: .flatten(1).sum(dim=1). Section "
        "8 shows what the mean does to a VAE.": lambda x, mean, scale: (
            _right_nll(x, mean, scale).flatten(1).mean(dim=1)
        ),
        "This is the sum over the whole batch; one number for each picture is expected: "
        ".flatten(1).sum(dim=1).": lambda x, mean, scale: _right_nll(x, mean, scale).sum(),
        "This is the mean over everything; one sum for each picture is "
        "expected.": lambda x, mean, scale: _right_nll(x, mean, scale).mean(),
        "This is the mean over the batch; leave that to the loss, and return one number for each "
        "picture.": lambda x, mean, scale: _right_nll(x, mean, scale).flatten(1).sum(dim=1).mean(),
        "The pixels of a picture are not added up: .flatten(1).sum(dim=1).": _right_nll,
        "log 2b is added once for each picture; it belongs to every pixel: add it before "
        "the sum.": lambda x, mean, scale: (
            ((x - mean).abs() / scale).flatten(1).sum(dim=1) + math.log(2 * scale)
        ),
        "The error is squared, which is a Gaussian's; Laplace takes its size, .abs().": _nll(
            lambda x, m, b: (x - m) ** 2 / b + math.log(2 * b)
        ),
        "The error has its sign: take its size, .abs().": _nll(
            lambda x, m, b: (x - m) / b + math.log(2 * b)
        ),
        "The term log 2b is missing. It keeps a large b from being free.": _nll(
            lambda x, m, b: (x - m).abs() / b
        ),
        "This is log p(x); it should be minus that: a good guess has a small loss.": _nll(
            lambda x, m, b: -_right_nll(x, m, b)
        ),
        "log 2b is taken off; in -log p it is added.": _nll(
            lambda x, m, b: (x - m).abs() / b - math.log(2 * b)
        ),
        "The 2 is missing: log 2b, not log b.": _nll(
            lambda x, m, b: (x - m).abs() / b + math.log(b)
        ),
        "The error is multiplied by b; it is measured in units of b: divide.": _nll(
            lambda x, m, b: (x - m).abs() * b + math.log(2 * b)
        ),
        "The error is divided by 2b; it is divided by b.": _nll(
            lambda x, m, b: (x - m).abs() / (2 * b) + math.log(2 * b)
        ),
        "The error is not divided by b.": _nll(lambda x, m, b: (x - m).abs() + math.log(2 * b)),
        "That is a Gaussian's: Laplace has |x - mean| / b + log 2b.": _nll(
            lambda x, m, b: (x - m) ** 2 / (2 * b**2) + math.log(2 * math.pi * b**2) / 2
        ),
        "That is the probability density; minus its logarithm is asked for.": _nll(
            lambda x, m, b: torch.exp(-(x - m).abs() / b) / (2 * b)
        ),
        "The whole is multiplied by b, the form that section 4 ends with; here it is -log p.": _nll(
            lambda x, m, b: (x - m).abs() + b * math.log(2 * b)
        ),
        "log 2b is the logarithm of 2b, math.log(2 * scale); yours is log 2, times b.": _nll(
            lambda x, m, b: (x - m).abs() / b + math.log(2) * b
        ),
        "The logarithm has base 2; nats need the natural one, math.log.": _nll(
            lambda x, m, b: (x - m).abs() / b + math.log2(2 * b)
        ),
        "log 2b is the natural logarithm of 2b; yours is the logarithm of b to base 2 "
        "(math.log2).": _nll(lambda x, m, b: (x - m).abs() / b + math.log2(b)),
        "The logarithm has base 10; nats need the natural one, math.log.": _nll(
            lambda x, m, b: (x - m).abs() / b + math.log10(2 * b)
        ),
        "Brackets too many: only the error is divided by b, not log 2b.": _nll(
            lambda x, m, b: ((x - m).abs() + math.log(2 * b)) / b
        ),
        "log 2b is added for every pixel of the batch; each picture has only its own: add it "
        "before the sum.": lambda x, mean, scale: (
            ((x - mean).abs() / scale).flatten(1).sum(dim=1) + math.log(2 * scale) * x.numel()
        ),
        "The errors are added up before their size is taken, so that they cancel: .abs() "
        "first.": lambda x, mean, scale: (
            (x - mean).flatten(1).sum(dim=1).abs() / scale + math.log(2 * scale) * x[0].numel()
        ),
        "b is taken for the standard deviation, and √2 put in; b is the average error, and stands "
        "in the formula as it is.": _nll(
            lambda x, m, b: (x - m).abs() * math.sqrt(2) / b + math.log(math.sqrt(2) * b)
        ),
        "This is the sum over the pictures; it goes over the pixels of each: "
        ".flatten(1).sum(dim=1).": lambda x, mean, scale: _right_nll(x, mean, scale).sum(dim=0),
        "Only dimension 1 is added up, the channels: .flatten(1) first, then "
        ".sum(dim=1).": lambda x, mean, scale: _right_nll(x, mean, scale).sum(dim=1),
        "Only the last dimension is added up: .flatten(1) first, then "
        ".sum(dim=1).": lambda x, mean, scale: _right_nll(x, mean, scale).sum(dim=-1),
        "2b itself is added; it is its logarithm.": _nll(lambda x, m, b: (x - m).abs() / b + 2 * b),
    },
)


def _pairs():
    yield Case((*_moments(3, 5), *_moments(3, 5)), "latents are [B, D]")
    yield Case((*_moments(2, 4, 3, 3), *_moments(2, 4, 3, 3)), "latents are [B, C, H, W]")
    mean, logvar = _moments(2, 3)
    yield Case((mean, logvar, mean.clone(), logvar.clone()), "both are the same")
    yield Case((*_moments(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)), "p is N(0, 1)")
    yield Case((*map(learnt, _moments(2, 3)), *_moments(2, 3)), "only q is learnt")
    yield Case((*_moments(2, 3), *map(learnt, _moments(2, 3))), "only p is learnt")


def _pair(wrong):
    """A wrong kl_gaussians: a function of the four that gives one number for each latent."""
    return lambda mq, lq, mp, lp: wrong(mq, lq, mp, lp).flatten(1).sum(dim=1)


def _right_pair(mq, lq, mp, lp):
    return (lp - lq + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2


KL_GAUSSIANS = Exercise(
    "elbo.kl_gaussians",
    reference=elbo.kl_gaussians,
    cases=_pairs,
    hints=[
        "Four terms for each latent. A variance is logvar.exp(); log σ_p²/σ_q² is the difference "
        "of the two logvars.",
        "The fraction is (logvar_q.exp() + (mean_q - mean_p) ** 2) / logvar_p.exp().",
        "kl = (logvar_p - logvar_q + fraction - 1) / 2; then .flatten(1).sum(dim=1).",
    ],
    mistakes={
        "p and q are exchanged: this is KL(p ‖ q). What is divided by is the variance of p.": _pair(
            lambda mq, lq, mp, lp: _right_pair(mp, lp, mq, lq)
        ),
        "This is the KL to N(0, 1): p does not appear in it.": _pair(
            lambda mq, lq, mp, lp: _right_pair(mq, lq, torch.zeros_like(mp), torch.zeros_like(lp))
        ),
        "This is the mean over the latents; the KL is their sum, "
        ".flatten(1).sum(dim=1).": lambda mq, lq, mp, lp: (
            _right_pair(mq, lq, mp, lp).flatten(1).mean(dim=1)
        ),
        "This is the sum over the whole batch; one number for each picture is expected: "
        ".flatten(1).sum(dim=1).": lambda mq, lq, mp, lp: _right_pair(mq, lq, mp, lp).sum(),
        "This is one number for the batch, its mean; one for each picture is "
        "expected.": lambda mq, lq, mp, lp: (
            _right_pair(mq, lq, mp, lp).flatten(1).sum(dim=1).mean()
        ),
        "The latents of a picture are not added up: .flatten(1).sum(dim=1).": _right_pair,
        "The half is missing: divide by 2.": _pair(lambda *four: 2 * _right_pair(*four)),
        "Yours is minus the KL: turn the signs.": _pair(lambda *four: -_right_pair(*four)),
        "The -1 is missing: for two equal distributions the KL has to be 0.": _pair(
            lambda *four: _right_pair(*four) + 0.5
        ),
        "The logarithm is upside down: log σ_p²/σ_q² is logvar_p - logvar_q.": _pair(
            lambda mq, lq, mp, lp: (lq - lp + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
        ),
        "The difference of the means is not squared.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (mq - mp + lq.exp()) / lp.exp() - 1) / 2
        ),
        "The difference of the means is not divided by σ_p²: both terms stand above it.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (mq - mp) ** 2 + (lq - lp).exp() - 1) / 2
        ),
        "σ_q² is not divided by σ_p²: both terms stand above it.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (mq - mp) ** 2 / lp.exp() + lq.exp() - 1) / 2
        ),
        "The logvars are taken for variances: a variance is logvar.exp().": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq + (mq - mp) ** 2) / lp - 1) / 2
        ),
        "It is divided by the standard deviation of p; the variance belongs there, "
        "logvar_p.exp().": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq.exp() + (mq - mp) ** 2) / (lp / 2).exp() - 1) / 2
        ),
        "It is multiplied by σ_p²; it should be divided.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq.exp() + (mq - mp) ** 2) * lp.exp() - 1) / 2
        ),
        "The -1 is taken off once for each picture; it belongs to every latent: inside the "
        "sum.": lambda *four: (_right_pair(*four) + 0.5).flatten(1).sum(dim=1) - 1,
        "The difference is a ratio of the two logvars in yours; log σ_p²/σ_q² is logvar_p - "
        "logvar_q.": _pair(
            lambda mq, lq, mp, lp: (lp / lq + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
        ),
        "The logarithm of σ_p²/σ_q² is missing: the ratio itself is added.": _pair(
            lambda mq, lq, mp, lp: (
                ((lp - lq).exp() + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
            )
        ),
        "It is divided by the variance of q; the variance of p belongs there.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + ((mq - mp) ** 2 + lq.exp()) / lq.exp() - 1) / 2
        ),
        "The means are added; it is the square of their difference.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + ((mq + mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
        ),
        "Each mean is squared for itself; it is the square of their difference.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (mq**2 - mp**2 + lq.exp()) / lp.exp() - 1) / 2
        ),
        "The -1 is taken off after the sum, once for each picture; it belongs to every latent: "
        "inside the sum.": lambda *four: (_right_pair(*four) + 0.5).flatten(1).sum(dim=1) - 0.5,
        "The 1 is added; it is taken off: for two equal distributions the KL has to be 0.": _pair(
            lambda *four: _right_pair(*four) + 1
        ),
        "This is the mean over everything; one sum for each picture is expected: "
        ".flatten(1).sum(dim=1).": lambda *four: _right_pair(*four).mean(),
        "This is the sum over the pictures; it goes over the latents of each: "
        ".flatten(1).sum(dim=1).": lambda *four: _right_pair(*four).sum(dim=0),
        "Only dimension 1 is added up: latents may be [B, C, H, W] as well, so .flatten(1) "
        "first.": lambda *four: _right_pair(*four).sum(dim=1),
        "Only the last dimension is added up: latents may be [B, C, H, W] as well, so "
        ".flatten(1) first.": lambda *four: _right_pair(*four).sum(dim=-1),
        "Brackets are missing: the half goes for all terms, not for the logarithm alone.": _pair(
            lambda mq, lq, mp, lp: (lp - lq) / 2 + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1
        ),
        "Brackets are missing: all terms are divided by 2, not the last alone.": _pair(
            lambda mq, lq, mp, lp: lp - lq + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1 / 2
        ),
        "The logarithm is not halved, the other terms are: log σ_p/σ_q is half of logvar_p - "
        "logvar_q.": _pair(
            lambda mq, lq, mp, lp: lp - lq + (((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
        ),
        "Standard deviations stand where variances belong: a variance is logvar.exp(), without "
        "the / 2.": _pair(
            lambda mq, lq, mp, lp: (
                (lp - lq + ((mq - mp) ** 2 + (lq / 2).exp()) / (lp / 2).exp() - 1) / 2
            )
        ),
        "The variances are squared: a variance is logvar.exp(), without a 2.": _pair(
            lambda mq, lq, mp, lp: (
                (lp - lq + ((mq - mp) ** 2 + (2 * lq).exp()) / (2 * lp).exp() - 1) / 2
            )
        ),
        "The variances of the fraction are exchanged: σ_q² stands above, σ_p² below.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + ((mq - mp) ** 2 + lp.exp()) / lq.exp() - 1) / 2
        ),
        "The size of the difference of the means stands where its square belongs.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + ((mq - mp).abs() + lq.exp()) / lp.exp() - 1) / 2
        ),
        "The logvars are added; log σ_p²/σ_q² is logvar_p - logvar_q.": _pair(
            lambda mq, lq, mp, lp: (lp + lq + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
        ),
        "A logarithm is taken of the ratio of the logvars, which are logarithms already: "
        "log σ_p²/σ_q² is logvar_p - logvar_q.": _pair(
            lambda mq, lq, mp, lp: (
                ((lp / lq).log() + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
            )
        ),
        "A logarithm is taken of logvar_p - logvar_q, which is log σ_p²/σ_q² already.": _pair(
            lambda mq, lq, mp, lp: (
                ((lp - lq).log() + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
            )
        ),
        "The logarithm has base 2; nats need the natural one, and logvar is that already.": _pair(
            lambda mq, lq, mp, lp: (
                ((lp - lq) / math.log(2) + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2
            )
        ),
        "This is the difference of two KLs to N(0, 1); the KL from q to p is another thing.": _pair(
            lambda mq, lq, mp, lp: (
                _right_pair(mq, lq, 0 * mp, 0 * lp) - _right_pair(mp, lp, 0 * mq, 0 * lq)
            )
        ),
        "The difference of the means is missing.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq - lp).exp() - 1) / 2
        ),
        "The logarithm of the variances is missing: logvar_p - logvar_q.": _pair(
            lambda mq, lq, mp, lp: ((lq.exp() + (mq - mp) ** 2) / lp.exp() - 1) / 2
        ),
        "Log σ_p²/σ_q² is logvar_p - logvar_q as they stand; yours takes half of that.": _pair(
            lambda mq, lq, mp, lp: ((lp - lq) / 2 + (lq.exp() + (mq - mp) ** 2) / lp.exp() - 1) / 2
        ),
    },
)

EXERCISES = [SAMPLE, KL, NLL, KL_GAUSSIANS]
