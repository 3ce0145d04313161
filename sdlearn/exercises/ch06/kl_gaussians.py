"""Chapter 06: the exercise `elbo.kl_gaussians`."""

import math

import torch
import torch.nn.functional as F

from sdlearn import elbo
from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.exercises.ch06.common import SHAPES, moments


def _pairs():
    yield Case((*moments(3, 5), *moments(3, 5)), "latents are [B, D]")
    yield Case((*moments(2, 4, 3, 3), *moments(2, 4, 3, 3)), "latents are [B, C, H, W]")
    mean, logvar = moments(2, 3)
    yield Case((mean, logvar, mean.clone(), logvar.clone()), "both are the same")
    yield Case((*moments(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)), "p is N(0, 1)")
    yield Case((*moments(1, 3, 2, 2), *moments(1, 3, 2, 2)), "there is one picture")
    yield Case((*(0.3 + torch.randn(4, 2, 3).abs()),), "means are above 0, variances above 1")
    yield Case((*map(learnt, moments(2, 3)), *moments(2, 3)), "only q is learnt")
    yield Case((*moments(2, 3), *map(learnt, moments(2, 3))), "only p is learnt")


def _pair(wrong):
    """A wrong kl_gaussians: a function of the four that gives one number for each latent."""
    return lambda mq, lq, mp, lp: wrong(mq, lq, mp, lp).flatten(1).sum(dim=1)


def _right_pair(mq, lq, mp, lp):
    return (lp - lq + ((mq - mp) ** 2 + lq.exp()) / lp.exp() - 1) / 2


def _at_a_draw(mq, lq, mp, lp):
    """log q(z) / p(z) at one draw z from q."""
    noise = torch.randn_like(mq)
    z = mq + (lq / 2).exp() * noise
    return ((z - mp) ** 2 / lp.exp() - noise**2 + lp - lq) / 2


KL_GAUSSIANS = Exercise(
    "elbo.kl_gaussians",
    reference=elbo.kl_gaussians,
    cases=_pairs,
    advice=SHAPES,
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
        "The difference of the means is divided by σ_q²; it is divided by σ_p², as σ_q² is.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (mq - mp) ** 2 / lq.exp() + (lq - lp).exp() - 1) / 2
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
        "No exp: logvar is the logarithm of the variance, and yours takes it for the variance. A "
        "variance is logvar.exp(), and log σ_p²/σ_q² is logvar_p - logvar_q.": _pair(
            lambda mq, lq, mp, lp: ((lp / lq).log() + (lq + (mq - mp) ** 2) / lp - 1) / 2
        ),
        "No exp: logvar is the logarithm of the variance, and yours takes it for σ. A variance is "
        "logvar.exp(), and log σ_p²/σ_q² is logvar_p - logvar_q.": _pair(
            lambda mq, lq, mp, lp: (
                (((lp / lq) ** 2).log() + (lq**2 + (mq - mp) ** 2) / lp**2 - 1) / 2
            )
        ),
        "It is divided by logvar_p, the logarithm of the variance: σ_p² is logvar_p.exp().": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq.exp() + (mq - mp) ** 2) / lp - 1) / 2
        ),
        "logvar_q stands where σ_q² belongs, above the line: σ_q² is logvar_q.exp().": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq + (mq - mp) ** 2) / lp.exp() - 1) / 2
        ),
        "exp(logvar) is taken for σ; it is the variance, and σ is exp(logvar / 2).": _pair(
            lambda mq, lq, mp, lp: (
                lp - lq + ((2 * lq).exp() + (mq - mp) ** 2) / (2 * lp).exp() / 2 - 1 / 2
            )
        ),
        "The fraction is halved twice: once by 2σ_p² below it, once by the half of the whole.": (
            _pair(
                lambda mq, lq, mp, lp: (
                    (lp - lq + ((mq - mp) ** 2 + lq.exp()) / lp.exp() / 2 - 1) / 2
                )
            )
        ),
        "σ_p² is squared below the line: logvar_p.exp() is the variance already.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq.exp() + (mq - mp) ** 2) / lp.exp() ** 2 - 1) / 2
        ),
        "σ_q² is squared above the line: logvar_q.exp() is the variance already.": _pair(
            lambda mq, lq, mp, lp: (lp - lq + (lq.exp() ** 2 + (mq - mp) ** 2) / lp.exp() - 1) / 2
        ),
        "This is the mean of both directions; KL(q ‖ p) alone is asked for.": _pair(
            lambda mq, lq, mp, lp: (_right_pair(mq, lq, mp, lp) + _right_pair(mp, lp, mq, lq)) / 2
        ),
        "This is the sum of both directions; KL(q ‖ p) alone is asked for.": _pair(
            lambda mq, lq, mp, lp: _right_pair(mq, lq, mp, lp) + _right_pair(mp, lp, mq, lq)
        ),
        "This is the KL in bits; nats are asked for: do not divide by log 2.": _pair(
            lambda *four: _right_pair(*four) / math.log(2)
        ),
        "That is F.kl_div of the two means. It is made for lists of probabilities; for means and "
        "variances take the formula above.": _pair(
            lambda mq, lq, mp, lp: F.kl_div(mq, mp, reduction="none")
        ),
        "With one picture in the batch .squeeze() takes the batch's own dimension away: leave "
        "it out.": lambda *four: _right_pair(*four).squeeze().flatten(1).sum(dim=1),
        "This is divided by the number of pictures; each has its own KL, however many there "
        "are.": lambda *four: _right_pair(*four).flatten(1).sum(dim=1) / len(four[0]),
        "No gradient gets through: .detach(), .data and no_grad() cut it off, and nothing would be "
        "learnt from the KL.": _pair(lambda *four: _right_pair(*four).detach()),
        "No gradient reaches q: use mean_q and logvar_q as they are, without .detach().": _pair(
            lambda mq, lq, mp, lp: _right_pair(mq.detach(), lq.detach(), mp, lp)
        ),
        "This is log q/p at one draw; the KL is its mean over all draws, and the formula needs "
        "none.": _pair(_at_a_draw),
        "A small number is added below the line; a variance is above 0 as it is.": _pair(
            lambda mq, lq, mp, lp: (
                (lp - lq + (lq.exp() + (mq - mp) ** 2) / (lp.exp() + 1e-3) - 1) / 2
            )
        ),
        "No gradient reaches p: use mean_p and logvar_p as they are, without .detach(), as the "
        "prior may be learnt.": _pair(
            lambda mq, lq, mp, lp: _right_pair(mq, lq, mp.detach(), lp.detach())
        ),
        ".sum(dim=0) adds up the pictures, and leaves a number for each latent; .sum(dim=1) after "
        ".flatten(1) adds up the latents of each.": lambda *four: (
            _right_pair(*four).flatten(1).sum(dim=0)
        ),
        "With one picture in the batch the shape is [] in yours, and [1] is expected: leave out "
        ".squeeze().": lambda *four: _right_pair(*four).flatten(1).sum(dim=1).squeeze(),
        "Log σ_p²/σ_q² is logvar_p - logvar_q as they stand; yours takes half of that.": _pair(
            lambda mq, lq, mp, lp: ((lp - lq) / 2 + (lq.exp() + (mq - mp) ** 2) / lp.exp() - 1) / 2
        ),
    },
)
