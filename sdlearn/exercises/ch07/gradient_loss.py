"""Chapter 07: the exercise `vae.gradient_loss`."""

import torch

from sdlearn import vae_loss
from sdlearn.exercises.bank import Case, Exercise, learnt


def _pairs():
    yield Case((torch.rand(2, 3, 6, 6) * 2 - 1, torch.rand(2, 3, 6, 6) * 2 - 1), "squares")
    yield Case((torch.rand(1, 3, 4, 9), torch.rand(1, 3, 4, 9)), "height and width differ")
    x = torch.rand(2, 3, 5, 5)
    yield Case((x, x + 0.4), "the same, but brighter")
    yield Case((learnt(torch.rand(2, 3, 4, 5)), torch.rand(2, 3, 4, 5)), "a wants a gradient")
    stripes = torch.arange(6) % 2
    yield Case((torch.rand(2, 3, 5, 6) + stripes, torch.rand(2, 3, 5, 6)), "a has upright stripes")


def _edges(wrong):
    """A wrong gradient_loss: a function of the two differences of neighbours."""

    def answer(a, b):
        error = a - b
        return wrong(error.diff(dim=3), error.diff(dim=2))

    return answer


def _each(wrong):
    """A wrong gradient_loss: a function of the error and the dimension, added up over both."""
    return lambda a, b: sum(wrong(a - b, dim) for dim in (2, 3))


def _amount(x):
    return sum(x.diff(dim=dim).abs().mean() for dim in (2, 3))


def _together(*both):
    return torch.cat([edges.flatten() for edges in both]).abs().mean()


GRADIENT = Exercise(
    "vae.gradient_loss",
    reference=vae_loss.gradient_loss,
    cases=_pairs,
    hints=[
        "The difference of two edges is the edge of the difference: begin with a - b.",
        "error.diff(dim=3) is each pixel minus the one to its left; dim=2, minus the one above.",
        "across.abs().mean() + down.abs().mean()",
    ],
    mistakes={
        "The pixels are compared, not their neighbours' differences: this is L1.": lambda a, b: (
            (a - b).abs().mean()
        ),
        "The differences are squared; their size is asked for, .abs().": _edges(
            lambda across, down: across.square().mean() + down.square().mean()
        ),
        "The mean of both directions is taken; they are added.": _edges(
            lambda across, down: (across.abs().mean() + down.abs().mean()) / 2
        ),
        "Only differences across are counted: those down, dim=2, are missing.": _edges(
            lambda across, down: across.abs().mean()
        ),
        "Only differences down are counted: those across, dim=3, are missing.": _edges(
            lambda across, down: down.abs().mean()
        ),
        "The differences are added up; their mean is expected, whatever the picture's "
        "size.": _edges(lambda across, down: across.abs().sum() + down.abs().sum()),
        "The differences have their sign, and cancel: take .abs() before the mean.": _edges(
            lambda across, down: across.mean() + down.mean()
        ),
        "The sign is dropped after the mean; take .abs() before it, or differences cancel.": _edges(
            lambda across, down: across.mean().abs() + down.mean().abs()
        ),
        "Edges are compared without their sign, so that dark on light is as good as light on dark: "
        "take the difference of the pictures first.": lambda a, b: sum(
            (a.diff(dim=d).abs() - b.diff(dim=d).abs()).abs().mean() for d in (2, 3)
        ),
        "The amounts of edges are compared, not where they are: take .abs() of each pixel's "
        "difference, then the mean.": lambda a, b: sum(
            (a.diff(dim=d).abs().mean() - b.diff(dim=d).abs().mean()).abs() for d in (2, 3)
        ),
        "The edges of the sum are taken; those of the difference are asked for, "
        "a - b.": lambda a, b: sum((a + b).diff(dim=d).abs().mean() for d in (2, 3)),
        "The edges of a alone are counted: b does not appear.": lambda a, b: sum(
            a.diff(dim=d).abs().mean() for d in (2, 3)
        ),
        "Neighbouring colours are compared, dim=1; places are dim=2 and dim=3.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().mean() for d in (1, 3)
        ),
        "Down is dim=2, but dim=1 compares colours: across is dim=3.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().mean() for d in (1, 2)
        ),
        "dim=0 compares pictures, dim=1 colours; places are dim=2 and dim=3.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().mean() for d in (0, 1)
        ),
        "Both differences are across: .diff() alone takes the last dimension. Down is "
        "dim=2.": _edges(lambda across, down: 2 * across.abs().mean()),
        "The error loses its sign before the differences are taken: first .diff(), then "
        ".abs().": lambda a, b: sum((a - b).abs().diff(dim=d).abs().mean() for d in (2, 3)),
        ".abs() comes before .diff(), so that the differences have their sign, and cancel: it "
        "belongs after.": lambda a, b: sum((a - b).abs().diff(dim=d).mean() for d in (2, 3)),
        "Each direction has its own mean: they have unequal numbers of pairs when height and width "
        "differ.": _edges(lambda *both: 2 * _together(*both)),
        "All differences go into one mean; each direction has its own, and the two are "
        "added.": _edges(_together),
        "The differences are cut to one size, which drops pairs: take the mean of each direction, "
        "then add.": _edges(
            lambda across, down: (across[:, :, 1:].abs() + down[..., 1:].abs()).mean()
        ),
        "One number for each picture; the loss is one number for all.": lambda a, b: sum(
            (a - b).diff(dim=d).abs().flatten(1).mean(dim=1) for d in (2, 3)
        ),
        "The size of the gradient's vector is taken, √(across² + down²); here both directions are "
        "added.": lambda a, b: (
            ((a - b).diff(dim=3)[:, :, 1:] ** 2 + (a - b).diff(dim=2)[..., 1:] ** 2).sqrt().mean()
        ),
        "Only the larger of the two directions counts; they are added.": _edges(
            lambda across, down: torch.maximum(across.abs().mean(), down.abs().mean())
        ),
        "The differences down are subtracted; both directions are added.": _edges(
            lambda across, down: across.abs().mean() - down.abs().mean()
        ),
        "It compares how much edge a has in all with how much b has: an edge in another place is "
        "then as good. Take the edges of a - b.": lambda a, b: (_amount(a) - _amount(b)).abs(),
        "The difference of the pixels is in it as well; L1 is a term of its own, here only edges "
        "count.": lambda a, b: (a - b).abs().mean() + _amount(a - b),
        "These are differences of differences, down of those across; take each direction from "
        "a - b, then add.": lambda a, b: (a - b).diff(dim=3).diff(dim=2).abs().mean(),
        "These are differences taken two and three times across: the first argument of .diff() is "
        "n, how often. Write dim=2 and dim=3.": _each(lambda error, n: error.diff(n).abs().mean()),
        "The picture is wrapped round, as by .roll(): its last row and column are compared with "
        "the first, which are no neighbours.": _each(
            lambda error, dim: (error - error.roll(1, dim)).abs().mean()
        ),
        "The first row and column are compared with zeros; they have no neighbour there, and no "
        "difference.": _each(
            lambda error, dim: (
                error.diff(dim=dim, prepend=torch.zeros_like(error.narrow(dim, 0, 1))).abs().mean()
            )
        ),
        "Each pixel's two neighbours are compared with each other, as torch.gradient does; .diff() "
        "compares the pixel with the one before.": _each(
            lambda error, dim: torch.gradient(error, dim=dim)[0].abs().mean()
        ),
        "The sum is divided by the number of pixels; there are fewer differences, one less in each "
        "row and column.": _each(
            lambda error, dim: error.diff(dim=dim).abs().sum() / error.numel()
        ),
        "The channels are averaged first, so that colours cancel: take .abs() before any "
        "mean.": _each(
            lambda error, dim: error.mean(dim=1, keepdim=True).diff(dim=dim).abs().mean()
        ),
        "It is the sum over the three channels; the mean goes over them as well.": _each(
            lambda error, dim: error.diff(dim=dim).abs().sum(dim=1).mean()
        ),
        "The differences of each picture are added up; the mean goes over them as well.": _each(
            lambda error, dim: error.diff(dim=dim).abs().sum(dim=(1, 2, 3)).mean()
        ),
        "It is the root of the mean square; the mean of the sizes is asked for, "
        ".abs().mean().": _each(lambda error, dim: error.diff(dim=dim).square().mean().sqrt()),
        "Only the first picture of the batch counts.": lambda a, b: _amount((a - b)[:1]),
    },
)
