"""Chapter 06: the exercise `elbo.laplace_nll`."""

import math

import torch

from sdlearn import elbo
from sdlearn.exercises.bank import Case, Exercise, learnt


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
