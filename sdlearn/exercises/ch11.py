"""The exercises of chapter 11, judging generated pictures."""

import math

import torch

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
    yield Case((_cloud(25, 4, 2.0), _cloud(60, 4, 2.5)), "the samples differ in size")
    yield Case((_cloud(30, 2), 3 * _cloud(30, 2)), "one sample is wider")


def _frechet(apart=None, spread=None, cross=None, cov=None, total=None):
    """A wrong frechet_distance, by the part that is wrong.

    apart(difference of the means), spread(Σa, Σb), cross(Σa, Σb): the three terms. cov(sample).
    total(apart, spread, cross).
    """
    cov = cov or (lambda x: x.T.cov())
    apart = apart or (lambda d: d.square().sum())
    spread = spread or (lambda a, b: a.trace() + b.trace())
    cross = cross or (lambda a, b: _roots(a @ b))
    total = total or (lambda apart, spread, cross: apart + spread - 2 * cross)

    def answer(a, b):
        one, other = cov(a), cov(b)
        terms = apart(a.mean(dim=0) - b.mean(dim=0)), spread(one, other), cross(one, other)
        return float(total(*terms))

    return answer


def _roots(matrix):
    """The sum of the roots of a matrix's eigenvalues."""
    return torch.linalg.eigvals(matrix).real.clamp(min=0).sqrt().sum()


FRECHET = Exercise(
    "judging.frechet_distance",
    reference=metrics.frechet_distance,
    cases=_frechet_cases,
    hints=[
        "Three terms: the squared distance of the means, a.mean(dim=0) and b.mean(dim=0); the two "
        "traces; and the root. x.T.cov() is the covariance matrix of a sample [N, D].",
        "The trace of a matrix's root is the sum of the roots of its eigenvalues: "
        "torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum().",
        "apart = (a.mean(dim=0) - b.mean(dim=0)).square().sum(); return (apart + cov_a.trace() + "
        "cov_b.trace() - 2 * cross).item()",
    ],
    mistakes={
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
        "cov_a @ cov_b.": _frechet(cross=lambda a, b: _roots(a * b)),
        "The eigenvalues of Σ_a and of Σ_b are paired by size; those of the product cov_a @ cov_b "
        "are needed.": _frechet(
            cross=lambda a, b: _roots(
                torch.linalg.eigvalsh(a).diag() @ torch.linalg.eigvalsh(b).diag()
            )
        ),
        "These are the singular values of Σ_a Σ_b; its eigenvalues are needed, "
        "torch.linalg.eigvals.": _frechet(
            cross=lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum()
        ),
        "eigvalsh wants a symmetric matrix, and Σ_a Σ_b is none: take "
        "torch.linalg.eigvals.": _frechet(
            cross=lambda a, b: torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum()
        ),
        "Each mean is one number, over everything; each feature has one: .mean(dim=0).": _frechet(
            apart=lambda d: d.mean().square()
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
        "These are correlations, whose spread is always 1; covariances are needed: "
        "x.T.cov().": _frechet(cov=lambda x: x.T.corrcoef()),
        "This is the distance of the means alone: the spread does not appear in it.": _frechet(
            total=lambda apart, spread, cross: apart
        ),
        "The roots of Σ_a and Σ_b are taken off each other in the traces: "
        "Tr Σ_a + Tr Σ_b comes without roots.": _frechet(
            spread=lambda a, b: _roots(a) + _roots(b),
        ),
    },
)


def _kernel_cases():
    yield Case((_cloud(20, 4), _cloud(20, 4)), "samples of one size")
    yield Case((_cloud(12, 3, 0.5), _cloud(30, 3)), "the samples differ in size")
    yield Case((_cloud(25, 6, 1.0), _cloud(25, 6, -1.0)), "the means differ")


def _cubed(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def _kernel(kernel=_cubed, within=None, between=None, total=None):
    """A wrong kernel_distance: the kernel of two samples, and what is done with its matrices."""
    within = within or (lambda k: (k.sum() - k.trace()) / (len(k) * (len(k) - 1)))
    between = between or (lambda k: k.mean())
    total = total or (lambda aa, bb, ab: aa + bb - 2 * ab)

    def answer(a, b):
        return float(total(within(kernel(a, a)), within(kernel(b, b)), between(kernel(a, b))))

    return answer


def _off_diagonal(k):
    """The mean of a matrix [N, M] without the places where both numbers are the same."""
    keep = ~torch.eye(*k.shape, dtype=torch.bool)
    return k[keep].mean()


KERNEL = Exercise(
    "judging.kernel_distance",
    reference=metrics.kernel_distance,
    cases=_kernel_cases,
    hints=[
        "The kernel of all pairs at once is a matrix: (a @ b.T / D + 1) ** 3, with D = a.shape[1].",
        "Within a sample, leave out the pairs of a picture with itself: they stand on the "
        "diagonal. (k.sum() - k.trace()) / (N * (N - 1)) is the mean of the others.",
        "return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()",
    ],
    mistakes={
        "Pairs of a picture with itself are counted, so the distance is biased: leave the diagonal "
        "out, and divide by N(N-1).": _kernel(within=lambda k: k.mean()),
        "The diagonal is left out, but the sum is divided by N²; there are N(N-1) pairs "
        "left.": _kernel(within=lambda k: (k.sum() - k.trace()) / k.numel()),
        "The sum is divided by N(N-1), but the diagonal is still in it.": _kernel(
            within=lambda k: k.sum() / (len(k) * (len(k) - 1))
        ),
        "The pairs within a sample count twice: divide by N(N-1), not by half of it.": _kernel(
            within=lambda k: 2 * (k.sum() - k.trace()) / (len(k) * (len(k) - 1))
        ),
        "Each pair is counted once but divided by N(N-1), which counts it twice.": _kernel(
            within=lambda k: k.triu(1).sum() / (len(k) * (len(k) - 1))
        ),
        "Between the two samples all pairs count, also those with the same number: they are "
        "different pictures.": _kernel(between=_off_diagonal),
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
        "This is the root of its size; the squared MMD is wanted, which may be below 0.": _kernel(
            total=lambda aa, bb, ab: (aa + bb - 2 * ab).abs().sqrt()
        ),
        "What is below 0 is cut off. Leave it: for equal distributions it is below 0 as a matter "
        "of course, and cut off the mean would be biased.": _kernel(
            total=lambda aa, bb, ab: (aa + bb - 2 * ab).clamp(min=0)
        ),
        "The sign is taken off, abs(). Leave it: for equal distributions it is below 0 as a matter "
        "of course.": _kernel(total=lambda aa, bb, ab: (aa + bb - 2 * ab).abs()),
        "The diagonal is still in the triangle: triu(1) leaves it out.": _kernel(
            within=lambda k: 2 * k.triu().sum() / (len(k) * (len(k) - 1))
        ),
        "The kernel is squared; it should be cubed.": _kernel(
            lambda x, y: (x @ y.T / x.shape[1] + 1) ** 2
        ),
        "The kernel is not raised to the third power: this compares the means alone.": _kernel(
            lambda x, y: x @ y.T / x.shape[1] + 1
        ),
        "The 1 in the kernel is missing, or added after the power, where it cancels out; it "
        "belongs inside the brackets.": _kernel(lambda x, y: (x @ y.T / x.shape[1]) ** 3),
        "The products are not divided by the number of features, D.": _kernel(
            lambda x, y: (x @ y.T + 1) ** 3
        ),
        "The products are divided by the root of D, as in attention; here it is D.": _kernel(
            lambda x, y: (x @ y.T / math.sqrt(x.shape[1]) + 1) ** 3
        ),
        "The products are divided by len(a), the number of pictures; D, the number of features, "
        "belongs there.": lambda a, b: _kernel(lambda x, y: (x @ y.T / len(a) + 1) ** 3)(a, b),
        "The products are divided by the number of pictures of each sample; D, the number of "
        "features, belongs there.": _kernel(lambda x, y: (x @ y.T / len(x) + 1) ** 3),
        "The products are divided by 128, whatever the number of features: D is "
        "a.shape[1].": _kernel(lambda x, y: (x @ y.T / 128 + 1) ** 3),
        "The sum of x·y and 1 is divided by D; x·y alone is.": _kernel(
            lambda x, y: ((x @ y.T + 1) / x.shape[1]) ** 3
        ),
        "This is a Gaussian kernel; KID's is (x·y/D + 1)³.": _kernel(
            lambda x, y: (-(torch.cdist(x, y) ** 2) / 2).exp()
        ),
        "The features are brought to length 1 first; KID takes them as they are.": _kernel(
            lambda x, y: _cubed(
                torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1)
            )
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


def _wilson(middle=None, inside=None, scale=None, width=None, z=None):
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


WILSON = Exercise(
    "judging.wilson",
    reference=intervals.wilson,
    cases=_shares,
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
        "This is p ± z √(p(1-p)/n), which has no width at 20 of 20: Wilson's has z²/2n in the "
        "middle and z²/4n² below the root.": _interval(
            _wilson(lambda p, n, z: p, lambda p, n, z: p * (1 - p) / n, lambda n, z: (1, 1))
        ),
        "The middle is p itself; Wilson's is moved towards one half: "
        "(p + z²/2n) / (1 + z²/n).": _interval(
            _wilson(lambda p, n, z: p, scale=lambda n, z: (1, 1 + z * z / n))
        ),
        "Nothing is divided by 1 + z²/n.": _interval(_wilson(scale=lambda n, z: (1, 1))),
        "The middle is not divided by 1 + z²/n.": _interval(
            _wilson(scale=lambda n, z: (1, 1 + z * z / n))
        ),
        "The half width is not divided by 1 + z²/n.": _interval(
            _wilson(scale=lambda n, z: (1 + z * z / n, 1))
        ),
        "The middle has z²/n where z²/2n belongs.": _interval(
            _wilson(lambda p, n, z: p + z * z / n)
        ),
        "The middle is p divided by 1 + z²/n: z²/2n is missing above.": _interval(
            _wilson(lambda p, n, z: p)
        ),
        "Below the root stands z²/4n where z²/4n² belongs.": _interval(
            _wilson(inside=lambda p, n, z: p * (1 - p) / n + z * z / (4 * n))
        ),
        "Below the root stands z²/2n² where z²/4n² belongs.": _interval(
            _wilson(inside=lambda p, n, z: p * (1 - p) / n + z * z / (2 * n * n))
        ),
        "Below the root z²/4n² is missing: at 20 of 20 nothing would be left of it.": _interval(
            _wilson(inside=lambda p, n, z: p * (1 - p) / n)
        ),
        "Below the root p(1-p) is divided by n - 1; it is n.": _interval(
            _wilson(inside=lambda p, n, z: p * (1 - p) / (n - 1) + z * z / (4 * n * n))
        ),
        "Below the root p(1-p) is not divided by n.": _interval(
            _wilson(inside=lambda p, n, z: p * (1 - p) + z * z / (4 * n * n))
        ),
        "Below the root stands p/n; it is p(1-p)/n.": _interval(
            _wilson(inside=lambda p, n, z: p / n + z * z / (4 * n * n))
        ),
        "The root is missing.": _interval(_wilson(width=lambda inside, z: z * inside)),
        "The half width is not multiplied by z: this is one standard deviation, 68%.": _interval(
            _wilson(width=lambda inside, z: math.sqrt(inside))
        ),
        "z stands where z² belongs.": _interval(
            _wilson(
                lambda p, n, z: p + z / (2 * n),
                lambda p, n, z: p * (1 - p) / n + z / (4 * n * n),
                lambda n, z: (1 + z / n,) * 2,
            )
        ),
        "This z leaves 5% out on each side, an interval of 90%; for 95% it is 1.959964.": _interval(
            _wilson(z=1.644854)
        ),
        "This is an interval of 99%; for 95% z is 1.959964.": _interval(_wilson(z=2.575829)),
        "z is 1, an interval of 68%; for 95% it is 1.959964.": _interval(_wilson(z=1.0)),
        "z is rounded to 2; for 95% it is 1.959964.": _interval(_wilson(z=2.0)),
        "The interval is twice as wide as it should be.": _interval(
            _wilson(width=lambda inside, z: 2 * z * math.sqrt(inside))
        ),
        "The interval is half as wide as it should be: middle - half and middle + half.": _interval(
            _wilson(width=lambda inside, z: z / 2 * math.sqrt(inside))
        ),
        "low and high are exchanged.": _interval(lambda p, n, z: _wilson()(p, n, z)[::-1]),
        "In place of low and high there are the middle and half the width: return "
        "middle - half and middle + half.": _interval(
            lambda p, n, z: (
                sum(_wilson()(p, n, z)) / 2,
                -math.dist(*[[v] for v in _wilson()(p, n, z)]) / -2,
            )  # fmt: skip
        ),
        "number is how many are right; it should be how many there "
        "are, len(right).": lambda right, chance=None: Share(*wilson(right)[:3], int(right.sum())),
        "These are percent; shares from 0 to 1 are expected.": lambda right, chance=None: Share(
            *[100 * v for v in wilson(right)[:3]], len(right)
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
    yield Case((_cloud(32, 2), _cloud(32, 2, 0.7), 5, 1.0), "k = 5, all points kept")


def _manifold(radius=None, keep=None, inside=None, order=None):
    """A wrong manifold_shares, by the part that is wrong.

    radius(distances within the sample, k), keep(radius, share) → which points count,
    inside(distances to those kept, their radius) → which are covered, order(precision, recall).
    """
    radius = radius or (lambda d, k: d.kthvalue(k + 1, dim=1).values)
    keep = keep or (lambda r, share: r <= r.quantile(share))
    inside = inside or (lambda d, r: (d <= r).any(dim=1))
    order = order or (lambda precision, recall: (precision, recall))

    def covered(x, sample, k, share):
        r = radius(torch.cdist(sample, sample), k)
        kept = keep(r, share)
        return inside(torch.cdist(x, sample[kept]), r[kept])

    def answer(a, b, k=3, keep=0.5):
        return order(wilson(covered(a, b, k, keep)), wilson(covered(b, a, k, keep)))

    return answer


def _by_own_radius(a, b, k=3, keep=0.5):
    """Each judged point has the reach, in place of the sample's."""

    def covered(x, sample):
        r = torch.cdist(x, x).kthvalue(k + 1, dim=1).values
        near = torch.cdist(x, sample).min(dim=1).values
        return (near <= r) & (r <= r.quantile(keep))

    return wilson(covered(a, b)), wilson(covered(b, a))


def _within_itself(a, b, k=3, keep=0.5):
    """Each sample asked whether it covers itself."""
    return judge.manifold_shares(a, a, k, keep)[0], judge.manifold_shares(b, b, k, keep)[0]


def _opposite(share):
    return wilson(torch.arange(share.number) >= round(share.share * share.number))


MANIFOLD = Exercise(
    "judging.manifold_shares",
    reference=judge.manifold_shares,
    cases=_manifold_cases,
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
        "k + 1.": _manifold(lambda d, k: d.kthvalue(k, dim=1).values),
        "The reach goes to neighbour k + 1: kthvalue counts from 1, and the point itself is "
        "one.": _manifold(lambda d, k: d.kthvalue(k + 2, dim=1).values),
        "The reach goes to the nearest neighbour, whatever k is.": _manifold(
            lambda d, k: d.kthvalue(2, dim=1).values
        ),
        "The reach goes to the farthest neighbour; it goes to the k-th nearest.": _manifold(
            lambda d, k: d.max(dim=1).values
        ),
        "The reach is the mean distance to the k nearest; it is the distance to the k-th "
        "alone.": _manifold(lambda d, k: d.sort(dim=1).values[:, 1 : k + 1].mean(dim=1)),
        "The reach goes to one of the farthest: topk gives the largest, unless "
        "largest=False.": _manifold(lambda d, k: d.topk(k + 1, dim=1).values[:, -1]),
        "All points have the reach of the largest; each has its own.": _manifold(
            inside=lambda d, r: (d <= r.max()).any(dim=1)
        ),
        "All points have the same reach, the mean; each has its own.": _manifold(
            lambda d, k: d.kthvalue(k + 1, dim=1).values.mean().expand(len(d))
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
        "The reach belongs to the points of the sample that covers, not to those that are "
        "judged.": _by_own_radius,
        "Each sample is compared with itself: precision is covered(a, b), recall "
        "covered(b, a).": _within_itself,
    },
)

EXERCISES = [FRECHET, KERNEL, MANIFOLD, WILSON]
