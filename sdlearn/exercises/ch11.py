"""The exercises of chapter 11, judging generated pictures."""

import math

import torch
import torch.nn.functional as F

from sdlearn import intervals, judge, metrics
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.intervals import Share, wilson


def _cloud(n, dim, shift=0.0):
    """A sample [n, dim] whose numbers hang together, in float64."""
    mix = torch.randn(dim, dim, dtype=torch.float64)
    return torch.randn(n, dim, dtype=torch.float64) @ mix + shift


def _frechet_cases():
    yield Case((_cloud(40, 3), _cloud(40, 3)), "both means are near 0")
    yield Case((_cloud(40, 3, 1.0), _cloud(40, 3, -1.0)), "the means differ")
    yield Case((_cloud(25, 4, 2.0), _cloud(60, 4, 2.5)), "25 and 60 pictures, of 4 features each")
    yield Case((_cloud(30, 2), 3 * _cloud(30, 2)), "one sample is wider")
    # The means are far apart, so that single precision is still good enough.
    others = torch.randn(60, 16, dtype=torch.float64) + 8
    label = "six pictures over and over: some eigenvalues are 0, by rounding negative or complex"
    yield Case((_cloud(6, 16).repeat(6, 1), others), label)


def _frechet(apart=None, spread=None, cross=None, cov=None, total=None):
    """A wrong frechet_distance, by the part that is wrong.

    apart(difference of the means), spread(Σa, Σb), cross(Σa, Σb): the three terms. cov(sample).
    total(apart, spread, cross).
    """
    cov = cov or (lambda x: x.T.cov())
    apart = apart or (lambda d: d.square().sum())
    spread = spread or (lambda a, b: a.trace() + b.trace())
    cross = cross or _roots
    total = total or (lambda apart, spread, cross: apart + spread - 2 * cross)

    def answer(a, b):
        one, other = cov(a), cov(b)
        terms = apart(a.mean(dim=0) - b.mean(dim=0)), spread(one, other), cross(one, other)
        return float(total(*terms))

    return answer


def _roots(a, b):
    """The sum of the roots of the eigenvalues of a product."""
    return torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()


FRECHET = Exercise(
    "judging.frechet_distance",
    reference=metrics.frechet_distance,
    cases=_frechet_cases,
    advice={
        "25x25 and 60x60": "Those are covariances of the 25 and 60 pictures; x.T.cov() is that of "
        "the features.",
        r"a \(25\) must match": "Samples may differ in size: x.mean(dim=0) has a number for each "
        "feature, whatever their number of pictures.",
        "without overflow|clamp is not supported": "The eigenvalues are complex: take .real, and "
        ".clamp(min=0), before their roots are added up.",
        "positive-definite": "Fewer pictures than features leave eigenvalues of 0; "
        "torch.linalg.eigvals(cov_a @ cov_b) does not mind.",
    },
    hints=[
        "Three terms: the squared distance of the means, a.mean(dim=0) and b.mean(dim=0); the two "
        "traces; and the root. x.T.cov() is the covariance matrix of a sample [N, D].",
        "The trace of a matrix's root is the sum of the roots of its eigenvalues: "
        "torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum().",
        "apart = (a.mean(dim=0) - b.mean(dim=0)).square().sum(); return (apart + cov_a.trace() + "
        "cov_b.trace() - 2 * cross).item()",
    ],
    mistakes={
        "It is nan everywhere. A matrix's root is not that of each of its numbers, which may be "
        "negative: add up the roots of the eigenvalues of cov_a @ cov_b.": _frechet(
            cross=lambda a, b: (a.sqrt() @ b.sqrt()).trace()
        ),
        "It is nan where some eigenvalues of cov_a @ cov_b are 0: rounding makes them slightly "
        "negative, and then they have no root. Take .real.clamp(min=0) before the root.": _frechet(
            cross=lambda a, b: torch.linalg.eigvals(a @ b).real.sqrt().sum()
        ),
        "The distance of the means is not squared.": _frechet(apart=lambda d: d.norm()),
        "The squared difference of the means is averaged over the features; it is their "
        "sum.": _frechet(apart=lambda d: d.square().mean()),
        "The means do not appear in it.": _frechet(apart=lambda d: 0 * d.sum()),
        "The differences of the means are added up before they are squared: square "
        "first.": _frechet(apart=lambda d: d.sum().square()),
        "The size of each difference of the means is added up; add up the squares.": _frechet(
            apart=lambda d: d.abs().sum()
        ),
        "The root of Σ_a Σ_b is missing: yours is the trace of the product itself, or the sum of "
        "its eigenvalues without their roots.": _frechet(cross=lambda a, b: (a @ b).trace()),
        "The root is taken of the trace; it is the trace of the root: the sum of the roots of the "
        "eigenvalues.": _frechet(cross=lambda a, b: (a @ b).trace().clamp(min=0).sqrt()),
        "The root is taken of each number of Σ_a Σ_b; a matrix's root is another matrix. Use its "
        "eigenvalues.": _frechet(cross=lambda a, b: (a @ b).diagonal().clamp(min=0).sqrt().sum()),
        "Only the variances of the features are used, the diagonals of Σ_a and Σ_b: that overlooks "
        "how features hang together. The product is cov_a @ cov_b.": _frechet(
            cross=lambda a, b: (a * b).diagonal().clamp(min=0).sqrt().sum()
        ),
        "Σ_a and Σ_b are multiplied number by number, with *; the product of matrices is "
        "cov_a @ cov_b.": _frechet(cross=lambda a, b: _roots(a * b, torch.eye(len(a)).double())),
        "The eigenvalues of Σ_a and of Σ_b are paired by size; those of the product cov_a @ cov_b "
        "are needed.": _frechet(
            cross=lambda a, b: _roots(*(torch.linalg.eigvalsh(x).diag() for x in (a, b)))
        ),
        "These are the singular values of Σ_a Σ_b; its eigenvalues are needed, "
        "torch.linalg.eigvals.": _frechet(
            cross=lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum()
        ),
        "eigvalsh wants a symmetric matrix, and Σ_a Σ_b is none: take "
        "torch.linalg.eigvals.": _frechet(
            cross=lambda a, b: torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum()
        ),
        "The mean of Σ_a Σ_b and its transpose is symmetric, but its eigenvalues are others: take "
        "torch.linalg.eigvals(cov_a @ cov_b).": _frechet(
            cross=lambda a, b: torch.linalg.eigvalsh(a @ b + b @ a).div(2).clamp(min=0).sqrt().sum()
        ),
        "√Σ_a √Σ_b is not √(Σ_a Σ_b), and has another trace: take the roots of the eigenvalues of "
        "cov_a @ cov_b.": _frechet(
            cross=lambda a, b: (metrics.matrix_root(a) @ metrics.matrix_root(b)).trace()
        ),
        "The root of the product of the two traces is taken off; it is the trace of a root, that "
        "of Σ_a Σ_b.": _frechet(cross=lambda a, b: (a.trace() * b.trace()).sqrt()),
        "Each mean is one number, over everything; each feature has one: .mean(dim=0).": _frechet(
            apart=lambda d: d.mean().square()
        ),
        "This is the formula for one dimension, with one mean and one spread over everything: "
        "every feature has its own, and they hang together.": lambda a, b: float(
            (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
        ),
        "All numbers of Σ_a and Σ_b are added up; a trace is the sum of the diagonal "
        "alone.": _frechet(spread=lambda a, b: a.sum() + b.sum()),
        "The factor 2 before the root is missing: for equal samples the distance has to be "
        "0.": _frechet(total=lambda apart, spread, cross: apart + spread - cross),
        "The root is added; it is taken off: for equal samples the distance has to be 0.": _frechet(
            total=lambda apart, spread, cross: apart + spread + 2 * cross
        ),
        "The root term is missing.": _frechet(total=lambda apart, spread, cross: apart + spread),
        "The two traces are missing.": _frechet(spread=lambda a, b: 0 * a.trace()),
        "One of the two traces is missing: it is Tr Σ_a + Tr Σ_b.": _frechet(
            spread=lambda a, b: a.trace()
        ),
        "One of the two traces is missing, that of Σ_a: it is Tr Σ_a + Tr Σ_b.": _frechet(
            spread=lambda a, b: b.trace()
        ),
        "This is the root of the right number: the Fréchet distance of FID is left "
        "squared.": _frechet(total=lambda a, s, c: (a + s - 2 * c).clamp(min=0).sqrt()),
        "The covariances are divided by N; x.T.cov() divides by N - 1.": _frechet(
            cov=lambda x: x.T.cov(correction=0)
        ),
        "The mean is not taken off before the products are averaged: x.T @ x is no "
        "covariance. x.T.cov() is.": _frechet(cov=lambda x: x.T @ x / (len(x) - 1)),
        "The products are not divided by N - 1: take x.T.cov().": _frechet(
            cov=lambda x: x.T.cov() * (len(x) - 1)
        ),
        "The products are divided by 143, whatever the number of pictures: it is len(x) - 1, as in "
        "x.T.cov().": _frechet(cov=lambda x: x.T.cov() * (len(x) - 1) / 143),
        "This is the covariance of the pictures, not of the features: cov() takes what varies in "
        "rows, so x.T.cov().": lambda a, b: _frechet(cov=lambda x: x[: min(len(a), len(b))].cov())(
            a, b
        ),
        "A small number, 0.001, is added to the diagonals of Σ_a and Σ_b: leave it out, the "
        "eigenvalues need none.": _frechet(
            cross=lambda a, b: _roots(*(x + 1e-3 * torch.eye(len(x)) for x in (a, b)))
        ),
        "These are correlations, whose spread is always 1; covariances are needed: "
        "x.T.cov().": _frechet(cov=lambda x: x.T.corrcoef()),
        "This is the distance of the means alone: the spread does not appear in it.": _frechet(
            total=lambda apart, spread, cross: apart
        ),
    },
)


def _kernel_cases():
    yield Case((_cloud(20, 4), _cloud(20, 4)), "samples of one size")
    label = "12 and 30 pictures, whose distance is below 0"
    yield Case((_cloud(12, 3, 0.5), _cloud(30, 3)), label)
    yield Case((_cloud(25, 6, 1.0), _cloud(25, 6, -1.0)), "the means differ")


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


def _shares():
    for right, n in ((8, 10), (0, 10), (20, 20), (81, 263)):
        yield Case((torch.arange(n) < right,), f"{right} of {n} are right")


def _interval(ends):
    """A wrong wilson: ends(p, n, z) gives low and high."""

    def answer(right, chance=None):
        p, n = right.double().mean().item(), len(right)
        return Share(p, *map(float, ends(p, n, 1.959964)), n)

    return answer


def _filled(fill):
    """A wrong wilson with right numbers: fill(share, low, high, number) → what the Share gets."""
    return lambda right, chance=None: Share(*fill(*wilson(right)[:4]))


def _ends(middle=None, inside=None, scale=None, width=None, z=None):
    """Ends by the formula, one part of it wrong. inside: below the root. scale: the divisor."""
    middle = middle or (lambda p, n, z: p + z * z / (2 * n))
    inside = inside or (lambda p, n, z: p * (1 - p) / n + z * z / (4 * n * n))
    scale = scale or (lambda n, z: (1 + z * z / n,) * 2)
    width = width or (lambda inside, z: z * math.sqrt(inside))

    def ends(p, n, usual):
        of_normal = usual if z is None else z
        one, other = scale(n, of_normal)
        at = middle(p, n, of_normal) / one
        half = width(inside(p, n, of_normal), of_normal) / other
        return at - half, at + half

    return ends


def _wilson(*wrong, **parts):
    """A wrong wilson, by the part of the formula that is wrong (see `_ends`)."""
    return _interval(_ends(*wrong, **parts))


def _usual(p, n, z):
    """p ± z √(p(1-p)/n) where that lies within 0 … 1 and has a width, Wilson's elsewhere.

    So whoever cuts it off at 0 and 1, or not, or takes another there, makes this mistake too.
    """
    half = z * math.sqrt(p * (1 - p) / n)
    return (p - half, p + half) if half and half < min(p, 1 - p) else _ends()(p, n, z)


WILSON = Exercise(
    "judging.wilson",
    reference=intervals.wilson,
    cases=_shares,
    advice={
        "math domain error|nonnegative input": "Below the root it is negative: p(1-p) stands "
        "there, with p a share from 0 to 1.",
        "division by zero": "n is how many there are, len(right), not how many are right.",
    },
    hints=[
        "The two ends differ in one sign only: compute the middle of the interval and half its "
        "width, one after the other.",
        "n = len(right), p = right.double().mean().item(); "
        "middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)",
        "half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)); "
        "return Share(p, middle - half, middle + half, n)",
    ],
    returns=("share", "low", "high", "number", "chance"),
    mistakes={
        "This is p ± z √(p(1-p)/n): at 20 of 20 it has no width, elsewhere it may leave 0 … 1, and "
        "to cut it off there mends neither. Wilson's has z²/2n in the middle and z²/4n² below the "
        "root, and is divided by 1 + z²/n.": _interval(_usual),
        "The middle has z²n/2 where z²/2n belongs: Python reads z**2 / 2*n like that, so write "
        "z**2 / (2*n).": _wilson(lambda p, n, z: p + z**2 / 2 * n),
        "Below the root stands z²n²/4 where z²/4n² belongs: Python reads z**2 / 4*n**2 like that, "
        "so write z**2 / (4*n**2).": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n + z**2 / 4 * n**2
        ),
        "z²n/2 and z²n²/4 stand where z²/2n and z²/4n² belong: Python reads z**2 / 2*n and "
        "z**2 / 4*n**2 like that, so write z**2 / (2*n) and z**2 / (4*n**2).": _wilson(
            lambda p, n, z: p + z**2 / 2 * n,
            lambda p, n, z: p * (1 - p) / n + z**2 / 4 * n**2,
        ),
        "z²/n is added to both ends, in place of dividing by 1 + z²/n: Python reads x / 1 + z**2/n "
        "like that, so write x / (1 + z**2/n).": _interval(
            lambda p, n, z: [v + z**2 / n for v in _ends(scale=lambda n, z: (1, 1))(p, n, z)]
        ),
        "The middle is p itself; Wilson's is moved towards one half: "
        "(p + z²/2n) / (1 + z²/n).": _wilson(
            lambda p, n, z: p, scale=lambda n, z: (1, 1 + z * z / n)
        ),
        "Nothing is divided by 1 + z²/n.": _wilson(scale=lambda n, z: (1, 1)),
        "The middle is not divided by 1 + z²/n.": _wilson(scale=lambda n, z: (1, 1 + z * z / n)),
        "The half width is not divided by 1 + z²/n.": _wilson(
            scale=lambda n, z: (1 + z * z / n, 1)
        ),
        "The middle has z²/n where z²/2n belongs.": _wilson(lambda p, n, z: p + z * z / n),
        "The middle is p divided by 1 + z²/n: z²/2n is missing above.": _wilson(lambda p, n, z: p),
        "Below the root stands z²/4n where z²/4n² belongs.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n + z * z / (4 * n)
        ),
        "Below the root stands z²/2n² where z²/4n² belongs.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n + z * z / (2 * n * n)
        ),
        "Below the root z²/4n² is missing: at 20 of 20 nothing would be left of it.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / n
        ),
        "Below the root p(1-p) is divided by n - 1; it is n.": _wilson(
            inside=lambda p, n, z: p * (1 - p) / (n - 1) + z * z / (4 * n * n)
        ),
        "n - 1 stands in the place of n.": _interval(lambda p, n, z: _ends()(p, n - 1, z)),
        "Below the root p(1-p) is not divided by n.": _wilson(
            inside=lambda p, n, z: p * (1 - p) + z * z / (4 * n * n)
        ),
        "Below the root stands p/n; it is p(1-p)/n.": _wilson(
            inside=lambda p, n, z: p / n + z * z / (4 * n * n)
        ),
        "The root is missing.": _wilson(width=lambda inside, z: z * inside),
        "The half width is not multiplied by z: this is one standard deviation, 68%.": _wilson(
            width=lambda inside, z: math.sqrt(inside)
        ),
        "z stands where z² belongs.": _wilson(
            lambda p, n, z: p + z / (2 * n),
            lambda p, n, z: p * (1 - p) / n + z / (4 * n * n),
            lambda n, z: (1 + z / n,) * 2,
        ),
        **{
            f"This is an interval of {part}; for 95% z is 1.959964.": _wilson(z=z)
            for part, z in (("90%", 1.644854), ("99%", 2.575829), ("68%, with z = 1", 1.0))
        },
        "z is 0.95, the share; for an interval of 95% it is 1.959964.": _wilson(z=0.95),
        "z is rounded to 2; for 95% it is 1.959964.": _wilson(z=2.0),
        "The interval is twice as wide as it should be.": _wilson(
            width=lambda inside, z: 2 * z * math.sqrt(inside)
        ),
        "The interval is half as wide as it should be: middle - half and middle + half.": _wilson(
            width=lambda inside, z: z / 2 * math.sqrt(inside)
        ),
        "low and high are exchanged.": _filled(lambda p, low, high, n: (p, high, low, n)),
        "The order is low, share, high; it should be share, low, high.": _filled(
            lambda p, low, high, n: (low, p, high, n)
        ),
        "The share is the middle of the interval; it should be p, as it was seen.": _filled(
            lambda p, low, high, n: ((low + high) / 2, low, high, n)
        ),
        "The share is how many are right: divide by n.": _filled(
            lambda p, low, high, n: (p * n, low, high, n)
        ),
        "In place of low and high there are the middle and half the width: return "
        "middle - half and middle + half.": _filled(
            lambda p, low, high, n: (p, (low + high) / 2, (high - low) / 2, n)
        ),
        "number is how many are right; it should be how many there are, len(right).": _filled(
            lambda p, low, high, n: (p, low, high, round(p * n))
        ),
        "number is fixed, 144; it should be how many there are, len(right).": _filled(
            lambda p, low, high, n: (p, low, high, 144)
        ),
        "These are percent; shares from 0 to 1 are expected.": _filled(
            lambda p, low, high, n: (100 * p, 100 * low, 100 * high, n)
        ),
    },
)


def _manifold_cases():
    def outlier(n, dim):
        return torch.cat([_cloud(n - 1, dim), torch.full((1, dim), 9.0).double()])

    # Two neighbours of each other may have one reach, and rounding alone would decide there: at
    # these sizes no quantile lies between two such.
    yield Case((_cloud(40, 2), _cloud(50, 2)), "k = 3, keep = 0.5")
    yield Case((1.5 * _cloud(37, 3), outlier(45, 3), 3, 0.5), "one point of b lies far out")
    yield Case((_cloud(37, 2, 1.0), _cloud(47, 2), 2, 0.7), "k = 2, keep = 0.7")
    yield Case((_cloud(32, 2), _cloud(32, 2, 2.0), 5, 1.0), "k = 5, all points kept")
    six = 0.5 * _cloud(6, 2)
    yield Case(
        (six.repeat(4, 1), _cloud(24, 2, 0.5)),
        "a is six points four times over, so each has reach 0",
    )


def _manifold(radius=None, keep=None, inside=None, order=None, near=None, share=wilson):
    """A wrong manifold_shares, by the part that is wrong.

    radius(distances from the sample, k), keep(radius, share) → which points count,
    inside(distances to those kept, their radius) → which are covered, order(precision, recall).
    near(x, sample) → where a point's neighbours are looked for. share(those covered).
    """
    radius = radius or _nth(lambda k: k + 1)
    keep = keep or (lambda r, share: r <= r.quantile(share))
    inside = inside or (lambda d, r: (d <= r).any(dim=1))
    order = order or (lambda precision, recall: (precision, recall))
    near = near or (lambda x, sample: sample)

    def covered(x, sample, k, part):
        r = radius(torch.cdist(sample, near(x, sample)), k)
        kept = keep(r, part)
        return share(inside(torch.cdist(x, sample[kept]), r[kept]))

    def answer(a, b, k=3, keep=0.5):
        return order(covered(a, b, k, keep), covered(b, a, k, keep))

    return answer


def _nth(number):
    """A radius for `_manifold`, the distance number(k) by size in each row."""
    return lambda d, k: d.kthvalue(number(k), dim=1).values


def _by_own_radius(count):
    """Each judged point has the reach, in place of the sample's. count(inside, kept)."""

    def covered(x, sample, k, keep):
        r = torch.cdist(x, x).kthvalue(k + 1, dim=1).values
        inside = torch.cdist(x, sample).min(dim=1).values <= r
        return wilson(count(inside, r <= r.quantile(keep)))

    return lambda a, b, k=3, keep=0.5: (covered(a, b, k, keep), covered(b, a, k, keep))


def _within_itself(a, b, k=3, keep=0.5):
    """Each sample asked whether it covers itself."""
    return _manifold()(a, a, k, keep)[0], _manifold()(b, b, k, keep)[0]


def _among_the_kept(a, b, k=3, keep=0.5):
    """The reach is computed again, among those that are kept."""

    def kept(x):
        r = torch.cdist(x, x).kthvalue(k + 1, dim=1).values
        return x[r <= r.quantile(keep)]

    return _manifold()(a, kept(b), k, 1.0)[0], _manifold()(kept(a), b, k, 1.0)[1]


def _one_reach(a, b, k=3, keep=0.5):
    """The quantile is the reach of all points."""

    def radius(d, k):
        return d.kthvalue(k + 1, dim=1).values.quantile(keep).expand(len(d))

    return _manifold(radius, keep=lambda r, share: r > -1)(a, b, k, keep)


def _opposite(share):
    return wilson(torch.arange(share.number) >= round(share.share * share.number))


def _usual_share(covered):
    p, n = covered.double().mean().item(), len(covered)
    half = 1.959964 * math.sqrt(p * (1 - p) / n)
    return Share(p, p - half, p + half, n)


MANIFOLD = Exercise(
    "judging.manifold_shares",
    reference=judge.manifold_shares,
    cases=_manifold_cases,
    advice={
        "is invalid for input of size": "Were zeros left out? By rounding they are not all 0: let "
        "them be, and take neighbour k + 1.",
        "must match the size": "In torch.cdist(x, sample[kept]) a row is a point of x and a column "
        "one of those kept, as are the numbers of reach[kept]: compare along the rows.",
    },
    hints=[
        "Write a helper covered(x, sample) first. Every point of the sample has a reach; x is "
        "covered if it lies within the reach of at least one of those points that are kept.",
        "torch.cdist(sample, sample) holds all distances; in each row the smallest is 0, the point "
        "itself. So the reach is .kthvalue(k + 1, dim=1).values.",
        "kept = reach <= reach.quantile(keep); then "
        "(torch.cdist(x, sample[kept]) <= reach[kept]).any(dim=1). "
        "return wilson(covered(a, b)), wilson(covered(b, a))",
    ],
    returns=("precision", "recall"),
    mistakes={
        "Each point counts as a neighbour of itself, at distance 0: the k-th other one is number "
        "k + 1.": _manifold(_nth(lambda k: k)),
        "Each point counts as a neighbour of itself, so the k-th other one is number k + 1. And "
        "precision and recall are exchanged: precision is the share of a that b covers.": _manifold(
            _nth(lambda k: k), order=lambda p, r: (r, p)
        ),
        "Distances of 0 are left out. But a point may have copies, and its distance to itself is "
        "1e-7 by rounding: leave nothing out, and take neighbour k + 1.": _manifold(
            lambda d, k: d.masked_fill(d == 0, math.inf).kthvalue(k, dim=1).values
        ),
        "k and keep are fixed, at 3 and 0.5: take kthvalue(k + 1) and quantile(keep).": _manifold(
            _nth(lambda k: 4), lambda r, share: r <= r.median()
        ),
        "The reach goes to the third neighbour, whatever k is: kthvalue(k + 1).": _manifold(
            _nth(lambda k: 4)
        ),
        "The reach goes to neighbour k + 1: kthvalue counts from 1, and the point itself is "
        "one.": _manifold(_nth(lambda k: k + 2)),
        "The reach goes to the nearest neighbour, whatever k is.": _manifold(_nth(lambda k: 2)),
        "The reach is the mean distance to the k nearest; it is the distance to the k-th "
        "alone.": _manifold(lambda d, k: d.sort(dim=1).values[:, 1 : k + 1].mean(dim=1)),
        "The reach goes to one of the farthest: topk gives the largest, unless "
        "largest=False.": _manifold(lambda d, k: d.topk(k + 1, dim=1).values[:, -1]),
        "All points have the same reach, the quantile; each has its own, and the quantile only "
        "says which are kept.": _one_reach,
        "Reaches are computed again among the points that are kept: they come first, from the "
        "whole sample.": _among_the_kept,
        "A point's reach goes to its k-th neighbour in the other sample; it goes to the k-th in "
        "its own.": _manifold(_nth(lambda k: k), near=lambda x, sample: x),
        "A point's reach goes to its neighbour k + 1 in the other sample; it goes to the k-th in "
        "its own.": _manifold(near=lambda x, sample: x),
        "A point's neighbours are looked for in both samples together; its own alone "
        "counts.": _manifold(near=lambda x, sample: torch.cat([sample, x])),
        "Squared distances are compared with reaches that are not squared.": _manifold(
            inside=lambda d, r: (d**2 <= r).any(dim=1)
        ),
        "All points are kept, the odd ones too: kept = reach <= reach.quantile(keep).": _manifold(
            keep=lambda r, share: r > -1
        ),
        "The points with the largest reach are kept; those with the smallest should be.": _manifold(
            keep=lambda r, share: r >= r.quantile(1 - share)
        ),
        "Points are kept whose reach is the quantile or more; it has to be the quantile or "
        "less.": _manifold(keep=lambda r, share: r >= r.quantile(share)),
        "The share keep is dropped, and the rest kept: it is the other way round.": _manifold(
            keep=lambda r, share: r <= r.quantile(1 - share)
        ),
        "A point whose reach is the quantile itself is left out; keep those with reach <= "
        "quantile.": _manifold(keep=lambda r, share: r < r.quantile(share)),
        "The first int(keep * N) points by reach are kept; keep those whose reach is at most the "
        "quantile, which can be one more.": _manifold(
            keep=lambda r, share: r.argsort()[: int(share * len(r))]
        ),
        "Points are kept whose reach is at most keep times the largest; it is the quantile, "
        "reach.quantile(keep).": _manifold(keep=lambda r, share: r <= share * r.max()),
        "Half of the points are kept, whatever keep is.": _manifold(
            keep=lambda r, share: r <= r.median()
        ),
        "Precision and recall are exchanged: precision is the share of a that b covers.": _manifold(
            order=lambda p, r: (r, p)
        ),
        "Both numbers are the precision: recall is covered(b, a).": _manifold(
            order=lambda p, r: (p, p)
        ),
        "Both numbers are the recall: precision is covered(a, b).": _manifold(
            order=lambda p, r: (r, r)
        ),
        "These are the shares that are not covered.": _manifold(
            order=lambda p, r: (_opposite(p), _opposite(r))
        ),
        "A point is asked for by its nearest neighbour in the sample alone; any point of the "
        "sample may cover it.": _manifold(
            inside=lambda d, r: d.min(dim=1).values <= r[d.argmin(dim=1)]
        ),
        "All points of the sample have to cover it in yours; one is enough: "
        ".any(dim=1).": _manifold(inside=lambda d, r: (d <= r).all(dim=1)),
        "This asks which points of the sample cover something; the question is which points of x "
        "are covered: .any(dim=1).": _manifold(inside=lambda d, r: (d <= r).any(dim=0)),
        "All pairs are counted. A point is covered if any disc holds it, so there is one answer "
        "for each point: .any(dim=1).": _manifold(inside=lambda d, r: (d <= r).flatten()),
        "The reach belongs to the points of the sample that covers, not to those that are "
        "judged.": _by_own_radius(lambda inside, kept: inside & kept),
        "The reach belongs to the points of the sample that covers, not to those that are judged, "
        "and so does the choice of those that are kept.": _by_own_radius(
            lambda inside, kept: inside[kept]
        ),
        "The shares are right, their intervals are p ± z √(p(1-p)/n): take wilson(...).": _manifold(
            share=_usual_share
        ),
        "Each sample is compared with itself: precision is covered(a, b), recall "
        "covered(b, a).": _within_itself,
    },
)

EXERCISES = [FRECHET, KERNEL, MANIFOLD, WILSON]
