"""Chapter 11: the exercise `judging.frechet_distance`."""

import torch

from sdlearn import metrics
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch11.common import cloud


def _frechet_cases():
    yield Case((cloud(40, 3), cloud(40, 3)), "both means are near 0")
    yield Case((cloud(40, 3, 1.0), cloud(40, 3, -1.0)), "the means differ")
    yield Case((cloud(25, 4, 2.0), cloud(60, 4, 2.5)), "25 and 60 pictures, of 4 features each")
    yield Case((cloud(30, 2), 3 * cloud(30, 2)), "one sample is wider")
    # The means are far apart, so that single precision is still good enough.
    others = torch.randn(60, 16, dtype=torch.float64) + 8
    label = "six pictures over and over: some eigenvalues are 0, by rounding negative or complex"
    yield Case((cloud(6, 16).repeat(6, 1), others), label)


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
        "eigvalsh, eigh and matrix_root read half of a symmetric matrix, and Σ_a Σ_b is none: take "
        "the roots of its torch.linalg.eigvals.": _frechet(
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
