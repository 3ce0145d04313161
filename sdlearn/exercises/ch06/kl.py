"""Chapter 06: the exercise `elbo.kl`."""

import math

import torch

from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.exercises.ch06.common import SELF, SHAPES, gaussian, moments
from sdlearn.vae import DiagonalGaussian


def _kl_cases():
    yield Case(moments(3, 5), "latents are [B, D]")
    yield Case(moments(2, 4, 3, 3), "latents are [B, C, H, W]")
    yield Case(moments(1, 3, 2, 2), "there is one picture")
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
    advice={**SELF, **SHAPES},
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
        "σ² and log σ² are the same thing in yours, and cancel: σ² is self.std**2, log σ² is "
        "self.logvar.": _summed(lambda q: (q.mean**2 + q.logvar - 1 - q.logvar) / 2),
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
        "Neither σ² nor log σ² is left in yours: self.std**2 is added, self.logvar taken "
        "off.": _summed(lambda q: (q.mean**2 - 1) / 2),
        "Only the mean's square is halved: brackets are missing, as the half goes for all four "
        "terms.": _summed(lambda q: q.mean**2 / 2 + q.std**2 - 1 - q.logvar),
        "The size of the mean stands where its square belongs: self.mean**2.": _summed(
            lambda q: (q.mean.abs() + q.std**2 - 1 - q.logvar) / 2
        ),
        "The standard deviation is taken off where log σ² belongs: self.logvar.": _summed(
            lambda q: (q.mean**2 + q.std**2 - 1 - q.std) / 2
        ),
        "σ² and log σ² are exchanged: self.std**2 is added, self.logvar is taken off.": _summed(
            lambda q: (q.mean**2 + q.logvar - 1 - q.std**2) / 2
        ),
        "self.logvar is halved wherever it stands, so that σ and log σ stand where σ² and log σ² "
        "belong: leave out its / 2.": _summed(lambda q: (q.mean**2 + q.std - 1 - q.logvar / 2) / 2),
        "The square of log σ is taken off; log σ² is twice log σ, which is self.logvar.": _summed(
            lambda q: (q.mean**2 + q.std**2 - 1 - (q.logvar / 2) ** 2) / 2
        ),
        "That is F.kl_div of the mean and the standard deviation. It is made for lists of "
        "probabilities; for a mean and a variance take the formula above.": _summed(
            lambda q: q.std * (q.std.log() - q.mean)
        ),
        "This is the KL in bits; nats are asked for: do not divide by log 2.": _summed(
            lambda q: _right_kl(q) / math.log(2)
        ),
        "This is divided by the number of pictures; each has its own KL, however many there "
        "are.": lambda self: _right_kl(self).flatten(1).sum(dim=1) / len(self.mean),
        "This is half the KL: divide by 2 once.": _summed(lambda q: _right_kl(q) / 2),
        "The KL is rounded down to a whole number: divide by / 2, not // 2.": lambda self: (
            (2 * _right_kl(self)).flatten(1).sum(dim=1) // 2
        ),
        ".sum(dim=0) adds up the pictures, and leaves a number for each latent; .sum(dim=1) after "
        ".flatten(1) adds up the latents of each.": lambda self: (
            _right_kl(self).flatten(1).sum(dim=0)
        ),
        "With one picture in the batch the shape is [] in yours, and [1] is expected: leave out "
        ".squeeze().": lambda self: _right_kl(self).flatten(1).sum(dim=1).squeeze(),
        "With one picture in the batch .squeeze() takes the batch's own dimension away: leave "
        "it out.": lambda self: _right_kl(self).squeeze().flatten(1).sum(dim=1),
    },
)
