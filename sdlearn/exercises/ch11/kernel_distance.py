"""Chapter 11: the exercise `judging.kernel_distance`."""

import math

import torch
import torch.nn.functional as F

from sdlearn import metrics
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch11.common import cloud


def _kernel_cases():
    yield Case((cloud(20, 4), cloud(20, 4)), "samples of one size")
    label = "12 and 30 pictures, whose distance is below 0"
    yield Case((cloud(12, 3, 0.5), cloud(30, 3)), label)
    yield Case((cloud(25, 6, 1.0), cloud(25, 6, -1.0)), "the means differ")


def _run_kernel(answer, a, b):
    """Below 0 Python's ** 0.5 is complex, where torch's root is nan: here both are nan."""
    value = answer(a, b)
    return math.nan if isinstance(value, complex) else value


def _power(divisor=lambda x: x.shape[1], plus=1, power=3):
    """A kernel (x·y / divisor + plus) ** power."""
    return lambda x, y: (x @ y.T / divisor(x) + plus) ** power


def _kernel(kernel=None, within=None, between=None, total=None):
    """A wrong kernel_distance: the kernel of two samples, and what is done with its matrices."""
    kernel = kernel or _power()
    within = within or (lambda k: _others(k) / _pairs(k))
    between = between or torch.mean
    total = total or (lambda aa, bb, ab: aa + bb - 2 * ab)

    def answer(a, b):
        return float(total(within(kernel(a, a)), within(kernel(b, b)), between(kernel(a, b))))

    return answer


def _others(k):
    """The sum of a matrix [N, M] without its diagonal."""
    return k.sum() - k.trace()


def _pairs(x):
    """How many pairs of two different pictures there are in x, in both orders."""
    return len(x) * (len(x) - 1)


# Both means of the kernel, as if there were always 144 pictures.
_OF_144 = dict(within=lambda k: _others(k) / (144 * 143), between=lambda k: k.sum() / 144**2)

KERNEL = Exercise(
    "judging.kernel_distance",
    reference=metrics.kernel_distance,
    cases=_kernel_cases,
    run=_run_kernel,
    advice={
        "math domain error|nonnegative input": "The squared MMD may be below 0, and is wanted as "
        "it is, without a root.",
        "3x12 and 30x3": "x.T @ y sums over the pictures; x @ y.T has the products of all pairs.",
        r"a \(12\) must match": "Every picture meets every other: x @ y.T has the products of all "
        "pairs, whatever the number of pictures.",
    },
    hints=[
        "The kernel of all pairs at once is a matrix: (a @ b.T / D + 1) ** 3, with D = a.shape[1].",
        "Within a sample, leave out the pairs of a picture with itself: they stand on the "
        "diagonal. (k.sum() - k.trace()) / (N * (N - 1)) is the mean of the others.",
        "return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()",
    ],
    mistakes={
        "Pairs of a picture with itself are counted, so the distance is biased: leave the diagonal "
        "out, and divide by N(N-1).": _kernel(within=torch.mean),
        "The diagonal is left out, but the sum is divided by N²; there are N(N-1) pairs "
        "left.": _kernel(within=lambda k: _others(k) / k.numel()),
        "The sum is divided by N(N-1), but the diagonal is still in it.": _kernel(
            within=lambda k: k.sum() / _pairs(k)
        ),
        "The pairs within a sample count twice: divide by N(N-1), not by half of it.": _kernel(
            within=lambda k: 2 * _others(k) / _pairs(k)
        ),
        "Each pair is counted once but divided by N(N-1), which counts it twice.": _kernel(
            within=lambda k: k.triu(1).sum() / _pairs(k)
        ),
        "The mean of the diagonal is taken off the mean of all pairs: take the diagonal's sum off "
        "the sum of all, then divide by N(N-1).": _kernel(
            within=lambda k: k.mean() - k.diagonal().mean()
        ),
        "The diagonal still counts, as if full of ones. If you empty it before 1 is added and the "
        "power taken, do that afterwards.": _kernel(
            within=lambda k: (_others(k) + len(k)) / _pairs(k)
        ),
        "N is taken off for the pairs of a picture with itself, but k(x, x) is not 1: take off the "
        "diagonal's sum, k.trace().": _kernel(within=lambda k: (k.sum() - len(k)) / _pairs(k)),
        "The diagonal is left out within a, but is still in it within b.": lambda a, b: (
            metrics.kernel_distance(a, b) - metrics.kernel_distance(b, b) / 2
        ),
        "The pairs within b are divided by N(N-1), the number of those within a: there are "
        "M(M-1).": lambda a, b: _kernel(
            total=lambda aa, bb, ab: aa + bb * _pairs(b) / _pairs(a) - 2 * ab
        )(a, b),
        "All sums are divided as if b had as many pictures as a: N(N-1) is for a, M(M-1) for b, "
        "and NM for what is between.": lambda a, b: _kernel(
            total=lambda aa, bb, ab: aa + bb * _pairs(b) / _pairs(a) - 2 * ab * len(b) / len(a)
        )(a, b),
        "The diagonal is left out between the samples as well. There no pair is a picture with "
        "itself: all NM count, divided by NM.": _kernel(between=lambda k: _others(k) / _pairs(k)),
        "The sum between the samples is divided by N(N-1); it has NM pairs.": _kernel(
            between=lambda k: k.sum() / _pairs(k)
        ),
        "The sum between the samples is divided by N alone; it has NM pairs.": _kernel(
            between=lambda k: k.sum() / len(k)
        ),
        "The sum between the samples is divided by nothing; it has NM pairs.": _kernel(
            between=torch.sum
        ),
        "The mean between the samples is taken off once; twice is right: for equal distributions "
        "the distance has to be 0.": _kernel(total=lambda aa, bb, ab: aa + bb - ab),
        "The signs are turned: within is added, between taken off.": _kernel(
            total=lambda aa, bb, ab: 2 * ab - aa - bb
        ),
        "The mean between the samples is added; it is taken off.": _kernel(
            total=lambda aa, bb, ab: aa + bb + 2 * ab
        ),
        "The pairs within b are missing.": _kernel(total=lambda aa, bb, ab: aa - 2 * ab),
        "The pairs within a are missing.": _kernel(total=lambda aa, bb, ab: bb - 2 * ab),
        "The pairs within a stand in for those within b.": _kernel(
            total=lambda aa, bb, ab: 2 * aa - 2 * ab
        ),
        "This is the mean of the kernel between the samples alone.": _kernel(
            total=lambda aa, bb, ab: ab
        ),
        "This is the root. KID is the squared MMD as it is, which may be below 0, where it has no "
        "root.": _kernel(total=lambda aa, bb, ab: (aa + bb - 2 * ab).sqrt()),
        "This is the root, and 0 where there is none. KID is the squared MMD as it is, which may "
        "be below 0.": _kernel(total=lambda aa, bb, ab: (aa + bb - 2 * ab).relu().sqrt()),
        "What is below 0 is cut off. Leave it: for equal distributions it is below 0 as a matter "
        "of course, and cut off the mean would be biased.": _kernel(
            total=lambda aa, bb, ab: (aa + bb - 2 * ab).clamp(min=0)
        ),
        "The sign is taken off, abs(). Leave it: for equal distributions it is below 0 as a matter "
        "of course.": _kernel(total=lambda aa, bb, ab: (aa + bb - 2 * ab).abs()),
        "The diagonal is still in the triangle: triu(1) leaves it out.": _kernel(
            within=lambda k: 2 * k.triu().sum() / _pairs(k)
        ),
        "The kernel is squared; it should be cubed.": _kernel(_power(power=2)),
        "The kernel is raised to the fourth power; it should be cubed.": _kernel(_power(power=4)),
        "The kernel is not raised to the third power: this compares the means alone.": _kernel(
            _power(power=1)
        ),
        "The 1 in the kernel is missing, or added after the power, where it cancels out; it "
        "belongs inside the brackets.": _kernel(_power(plus=0)),
        "The products are not divided by the number of features, D.": _kernel(_power(lambda x: 1)),
        "The products are divided by the root of D, as in attention; here it is D.": _kernel(
            _power(lambda x: math.sqrt(x.shape[1]))
        ),
        "The products are divided by len(a), the number of pictures; D, the number of features, "
        "belongs there.": lambda a, b: _kernel(_power(lambda x: len(a)))(a, b),
        "The products are divided by the number of pictures of each sample; D, the number of "
        "features, belongs there.": _kernel(_power(len)),
        "The products are divided by 128, whatever the number of features: D is "
        "a.shape[1].": _kernel(_power(lambda x: 128)),
        "The sizes are fixed, 128 features and 144 pictures: they are a.shape[1], len(a) and "
        "len(b).": _kernel(_power(lambda x: 128), **_OF_144),
        "The number of pictures is fixed, 144: it is len(a) and len(b).": _kernel(**_OF_144),
        "The sum of x·y and 1 is divided by D; x·y alone is.": _kernel(
            lambda x, y: ((x @ y.T + 1) / x.shape[1]) ** 3
        ),
        "The kernel is divided by D after the power; x·y alone is, before 1 is added.": _kernel(
            lambda x, y: (x @ y.T + 1) ** 3 / x.shape[1]
        ),
        "This is a Gaussian kernel; KID's is (x·y/D + 1)³.": _kernel(
            lambda x, y: (-(torch.cdist(x, y) ** 2) / 2).exp()
        ),
        "This is a Gaussian kernel, of a width √D; KID's is (x·y/D + 1)³.": _kernel(
            lambda x, y: (-(torch.cdist(x, y) ** 2) / (2 * x.shape[1])).exp()
        ),
        "The features are brought to length 1 first; KID takes them as they are.": _kernel(
            lambda x, y: _power()(F.normalize(x, dim=1), F.normalize(y, dim=1))
        ),
    },
)
