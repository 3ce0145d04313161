"""Chapter 06: the exercise `elbo.kl`."""

import math

import torch

from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.exercises.ch06.common import gaussian, moments
from sdlearn.vae import DiagonalGaussian


def _kl_cases():
    yield Case(moments(3, 5), "latents are [B, D]")
    yield Case(moments(2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case((torch.zeros(2, 3), torch.full((2, 3), -1.0)), "the mean is 0")
    yield Case((torch.randn(2, 3), torch.zeros(2, 3)), "the variance is 1")
    mean, logvar = moments(2, 3)
    yield Case((learnt(mean), logvar), "the mean is learnt")
    mean, logvar = moments(2, 3)
    yield Case((mean, learnt(logvar)), "the variance is learnt")


def _run_kl(answer, mean, logvar):
    return answer(gaussian(mean, logvar))


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
