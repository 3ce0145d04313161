"""The exercises of chapter 06, the variational autoencoder."""

import math
from types import SimpleNamespace

import torch

from sdlearn import elbo
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.vae import DiagonalGaussian


def _moments(*shape):
    return torch.randn(shape), torch.randn(shape) - 0.5


def _gaussian(mean, logvar):
    """What the exercise's `self` holds, with nothing in it that does the work already."""
    return SimpleNamespace(mean=mean, logvar=logvar, std=(logvar / 2).exp())


def _sample_cases():
    yield Case((*_moments(3, 5), torch.Generator().manual_seed(1)), "latents are [B, D]")
    yield Case(
        (*_moments(2, 4, 3, 3), torch.Generator().manual_seed(2)), "latents are [B, C, H, W]"
    )
    yield Case((*_moments(2, 6), None), "generator is None")


def _run_sample(answer, mean, logvar, generator):
    """The draw, and what reaches the encoder through it: numbers alone do not show that."""
    inputs = [mean.clone().requires_grad_(), logvar.clone().requires_grad_()]
    draw = answer(_gaussian(*inputs), generator)
    if not isinstance(draw, torch.Tensor) or draw.shape != mean.shape:
        return draw
    found = [None, None]
    if draw.requires_grad:
        found = torch.autograd.grad((draw * draw.detach()).sum(), inputs, allow_unused=True)
    return draw.detach(), *(torch.zeros_like(mean) if g is None else g for g in found)


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
    returns=("draw", "gradient by the mean", "gradient by logvar"),
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
        "The numbers are right, but no gradient reaches the mean or the standard deviation: "
        "torch.normal, .detach() and no_grad() cut it off. Draw the noise alone, with "
        "torch.randn, and compute with it.": lambda self, generator=None: torch.normal(
            self.mean, self.std, generator=generator
        ),
    },
)


def _kl_cases():
    yield Case(_moments(3, 5), "latents are [B, D]")
    yield Case(_moments(2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case((torch.zeros(2, 3), torch.full((2, 3), -1.0)), "the mean is 0")
    yield Case((torch.randn(2, 3), torch.zeros(2, 3)), "the variance is 1")


def _run_kl(answer, mean, logvar):
    return answer(_gaussian(mean, logvar))


def _summed(wrong):
    """A wrong kl: a function of the Gaussian that gives one number for each latent."""
    return lambda self: wrong(self).flatten(1).sum(dim=1)


def _right_kl(q):
    return (q.mean**2 + q.std**2 - 1 - q.logvar) / 2


KL = Exercise(
    "elbo.kl",
    reference=DiagonalGaussian.kl,
    cases=_kl_cases,
    run=_run_kl,
    hints=[
        "First the formula for each latent, a tensor like the mean: σ is self.std and log σ² is "
        "self.logvar.",
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
    yield Case((*pictures(3, 5), 2.0), "points [B, D], b = 2")
    yield Case((*pictures(2, 3, 4, 4), 0.5), "b = 0.5, where log 2b is 0")


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
        "2b itself is added; it is its logarithm.": _nll(lambda x, m, b: (x - m).abs() / b + 2 * b),
    },
)


def _pairs():
    yield Case((*_moments(3, 5), *_moments(3, 5)), "latents are [B, D]")
    yield Case((*_moments(2, 4, 3, 3), *_moments(2, 4, 3, 3)), "latents are [B, C, H, W]")
    mean, logvar = _moments(2, 3)
    yield Case((mean, logvar, mean.clone(), logvar.clone()), "both are the same")
    yield Case((*_moments(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)), "p is N(0, 1)")


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
            lambda mq, lq, mp, lp: _right_pair(mq, lq, 0 * mp, 0 * lp)
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
