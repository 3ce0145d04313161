"""Chapter 06: the exercise `elbo.laplace_nll`."""

import math

import torch

from sdlearn import elbo
from sdlearn.exercises.bank import Case, Exercise, learnt
from sdlearn.exercises.ch06.common import SHAPES


def _nll_cases():
    def pictures(*shape):
        return torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1

    yield Case((*pictures(2, 3, 4, 4), 0.3), "pictures, b = 0.3")
    yield Case((*pictures(3, 5), 1.7), "points [B, D], b = 1.7")
    yield Case((*pictures(2, 3, 4, 4), 0.5), "b = 0.5, where log 2b is 0")
    x, mean = pictures(2, 6)
    yield Case((x, learnt(mean), 0.3), "the mean comes from a decoder that learns")
    yield Case((*pictures(1, 3, 32, 32), 0.3), "one picture of 32 × 32")
    yield Case((*pictures(2, 3, 4, 4), 0.01), "b = 0.01, far below the errors")


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
    advice=SHAPES,
    hints=[
        "First the formula for each pixel, a tensor like x; scale is b.",
        "scale is a plain number, so math.log(2 * scale) will do for the second term.",
        "nll = (x - mean).abs() / scale + math.log(2 * scale); then .flatten(1).sum(dim=1).",
    ],
    mistakes={
        "This is the mean over the pixels; log p(x) is their sum: "
        ".flatten(1).sum(dim=1).": lambda x, mean, scale: (
            _right_nll(x, mean, scale).flatten(1).mean(dim=1)
        ),
        "This is the sum over the whole batch; one number for each picture is expected: "
        ".flatten(1).sum(dim=1). (F.l1_loss needs reduction='none'.)": lambda x, mean, scale: (
            _right_nll(x, mean, scale).sum()
        ),
        "This is the mean over everything; one sum for each picture is expected. (F.l1_loss "
        "averages over everything, unless reduction='none'.)": lambda x, mean, scale: _right_nll(
            x, mean, scale
        ).mean(),
        "This is the mean over the batch; leave that to the loss, and return one number for each "
        "picture. (F.l1_loss averages over the batch, unless "
        "reduction='none'.)": lambda x, mean, scale: (
            _right_nll(x, mean, scale).flatten(1).sum(dim=1).mean()
        ),
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
        "exp goes out of range: the density of a whole picture is 0 or infinite in floating point, "
        "and its logarithm infinite. Add up the logarithms of the pixels.": lambda x, mean, b: (
            -(torch.exp(-(x - mean).abs() / b) / (2 * b)).flatten(1).prod(dim=1).log()
        ),
        "exp goes out of range: where an error is many times b it is 0 or infinite in floating "
        "point, and the logarithm infinite. Write the logarithm itself, |x - mean| / b + "
        "log 2b.": _nll(lambda x, m, b: -(torch.exp(-(x - m).abs() / b) / (2 * b)).log()),
        "The logarithm of 1 + 2b is added; it is log 2b.": _nll(
            lambda x, m, b: (x - m).abs() / b + math.log1p(2 * b)
        ),
        "2 log b is added; log 2b is log 2 + log b, math.log(2 * scale).": _nll(
            lambda x, m, b: (x - m).abs() / b + 2 * math.log(b)
        ),
        "2 + log b is added; log 2b is log 2 + log b, math.log(2 * scale).": _nll(
            lambda x, m, b: (x - m).abs() / b + 2 + math.log(b)
        ),
        "log 2b is halved; Laplace has it whole (the half is a Gaussian's).": _nll(
            lambda x, m, b: (x - m).abs() / b + math.log(2 * b) / 2
        ),
        "The error has the wrong sign: in -log p both terms are added.": _nll(
            lambda x, m, b: -(x - m).abs() / b + math.log(2 * b)
        ),
        "The error is divided by √b; it is divided by b.": _nll(
            lambda x, m, b: (x - m).abs() / math.sqrt(b) + math.log(2 * b)
        ),
        "The error is divided by b²; it is divided by b.": _nll(
            lambda x, m, b: (x - m).abs() / b**2 + math.log(2 * b)
        ),
        "This is the summed error alone, without b: divide by b, and add log 2b for every "
        "pixel.": _nll(lambda x, m, b: (x - m).abs()),
        "This is the squared error alone, without b: Laplace has |x - mean| / b + log 2b.": _nll(
            lambda x, m, b: (x - m) ** 2
        ),
        "This is twice the summed error, the value for b = 0.5 whatever b is: b is handed in as "
        "scale.": _nll(lambda x, m, b: 2 * (x - m).abs()),
        "b is the average of these errors in yours; it is handed in, as scale.": _nll(
            lambda x, m, b: (x - m).abs() / (x - m).abs().mean() + (2 * (x - m).abs().mean()).log()
        ),
        "One number, the average of all, stands where mean belongs: each pixel has its own.": _nll(
            lambda x, m, b: (x - m.mean()).abs() / b + math.log(2 * b)
        ),
        "log 2b is counted once for each picture, and divided by b: it belongs to every pixel, "
        "and only the error is divided by b.": lambda x, mean, scale: (
            ((x - mean).abs().flatten(1).sum(dim=1) + math.log(2 * scale)) / scale
        ),
        "log 2b is counted as many times as there are pictures; it belongs to every pixel: add it "
        "before the sum.": lambda x, mean, scale: (
            ((x - mean).abs() / scale).flatten(1).sum(dim=1) + len(x) * math.log(2 * scale)
        ),
        "log 2b is counted as many times as there are channels; it belongs to every pixel: add it "
        "before the sum.": lambda x, mean, scale: (
            ((x - mean).abs() / scale).flatten(1).sum(dim=1) + x.shape[1] * math.log(2 * scale)
        ),
        "log 2b is counted 3,072 times, right for 3 × 32 × 32 alone; add it before the sum, and "
        "any size will do.": lambda x, mean, scale: (
            ((x - mean).abs() / scale).flatten(1).sum(dim=1) + 3072 * math.log(2 * scale)
        ),
        ".sum(dim=0) adds up the pictures, and leaves a number for each pixel; .sum(dim=1) after "
        ".flatten(1) adds up the pixels of each.": lambda x, mean, scale: (
            _right_nll(x, mean, scale).flatten(1).sum(dim=0)
        ),
        "With one picture in the batch the shape is [] in yours, and [1] is expected: leave out "
        ".squeeze().": lambda x, mean, scale: (
            _right_nll(x, mean, scale).flatten(1).sum(dim=1).squeeze()
        ),
        "With one picture in the batch .squeeze() takes the batch's own dimension away: leave "
        "it out.": lambda x, mean, scale: (
            _right_nll(x, mean, scale).squeeze().flatten(1).sum(dim=1)
        ),
        "This is divided by the number of pictures; each has its own -log p, however many there "
        "are.": lambda x, mean, scale: _right_nll(x, mean, scale).flatten(1).sum(dim=1) / len(x),
    },
)
