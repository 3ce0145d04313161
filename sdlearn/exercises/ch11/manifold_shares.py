"""Chapter 11: the exercise `judging.manifold_shares`."""

import math

import torch

from sdlearn import judge
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch11.common import cloud
from sdlearn.intervals import Share, wilson


def _manifold_cases():
    def outlier(n, dim):
        return torch.cat([cloud(n - 1, dim), torch.full((1, dim), 9.0).double()])

    # Two neighbours of each other may have one reach, and rounding alone would decide there: at
    # these sizes no quantile lies between two such.
    yield Case((cloud(40, 2), cloud(50, 2)), "k = 3, keep = 0.5")
    yield Case((1.5 * cloud(37, 3), outlier(45, 3), 3, 0.5), "one point of b lies far out")
    yield Case((cloud(37, 2, 1.0), cloud(47, 2), 2, 0.7), "k = 2, keep = 0.7")
    yield Case((cloud(32, 2), cloud(32, 2, 2.0), 5, 1.0), "k = 5, all points kept")
    six = 0.5 * cloud(6, 2)
    yield Case(
        (six.repeat(4, 1), cloud(24, 2, 0.5)),
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
