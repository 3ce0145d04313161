"""Chapter 12: the exercise `stable.weigh`."""

import torch

from sdlearn import webui
from sdlearn.exercises.bank import Case, Exercise


def _weigh_cases():
    def states(mean, *shape):
        return torch.randn(1, *shape) + mean + torch.randn(shape[-1]) / 4

    yield Case((states(1.5, 5, 5), torch.tensor([1, 1.5, 0.6, 1, 1.3])), "five tokens, D = 5")
    yield Case((states(1.8, 4, 4), torch.tensor([1, 0, 1.1, 1])), "a weight is 0")
    yield Case((states(-1.5, 4, 4), torch.ones(4)), "all weights are 1")
    yield Case((states(2.0, 3, 3), torch.full((3,), 1.4)), "all weights are 1.4")
    weights = torch.tensor([1, 1.6, 1, 0.5, 1, 1.2])
    yield Case((states(-2.0, 6, 8), weights), "L and D differ: six tokens, D = 8")


def _run_weigh(answer, states, weights):
    """The answer; the states where it stops as L is not D: what it does where it is says more."""
    try:
        return answer(states, weights)
    except RuntimeError:
        if states.shape[1] == states.shape[2]:
            raise
        return states


def _weighted(change):
    """A wrong weigh: another change(weighted states, states) in place of the scaling."""
    return lambda states, weights: change(states * weights[:, None], states)


def _kept(measure):
    """A wrong weigh: another measure than the mean is kept."""
    return _weighted(lambda scaled, states: scaled * (measure(states) / measure(scaled)))


WEIGH = Exercise(
    "stable.weigh",
    reference=webui.weigh,
    cases=_weigh_cases,
    run=_run_weigh,
    hints=[
        "First each token's state times its weight: [L] needs the shape [L, 1] to go with "
        "[1, L, D]. Then one number for all brings the mean back.",
        "scaled = states * weights[:, None]. Which number makes scaled.mean() the mean of states?",
        "return scaled * (states.mean() / scaled.mean())",
    ],
    mistakes={
        "The mean is not brought back: multiply all by states.mean() / scaled.mean().": _weighted(
            lambda scaled, states: scaled
        ),
        "The weights run along the numbers of a state; each token has one weight: "
        "weights[:, None].": lambda states, weights: (
            (states * weights) * (states.mean() / (states * weights).mean())
        ),
        "The weights run along the numbers of a state, and the mean is not brought back. Each "
        "token has one weight: weights[:, None].": lambda states, weights: states * weights,
        "Each token's own mean is brought back, which undoes the weights; one number scales "
        "all: states.mean() / scaled.mean().": _kept(lambda x: x.mean(dim=-1, keepdim=True)),
        "The mean of each column, over the tokens, is brought back; one number scales all: "
        "states.mean() / scaled.mean().": _kept(lambda x: x.mean(dim=1, keepdim=True)),
        "The spread is kept; it should be the mean.": _kept(torch.std),
        "The length (norm) is kept; it should be the mean.": _kept(torch.norm),
        "The mean of abs() is kept; it should be the mean itself.": _kept(lambda x: x.abs().mean()),
        "The difference of the means is added; multiply by their ratio.": _weighted(
            lambda scaled, states: scaled + states.mean() - scaled.mean()
        ),
        "The ratio is upside down: states.mean() / scaled.mean().": _kept(lambda x: 1 / x.mean()),
        "A mean may be negative, and clamp makes a tiny number of it: divide by scaled.mean() as "
        "it is.": _weighted(
            lambda scaled, states: scaled * (states.mean() / scaled.mean().clamp(min=1e-6))
        ),
        "The mean becomes 1; it should be what it was.": _weighted(lambda x, states: x / x.mean()),
        "Only the ratio is multiplied by: the weighted states, scaled, should be.": _weighted(
            lambda scaled, states: states * (states.mean() / scaled.mean())
        ),
        "The weights are divided by their mean; it is the mean of the states that should stay "
        "what it was.": lambda states, weights: states * (weights / weights.mean())[:, None],
        "The weights are left out: multiply each state by its own.": lambda states, weights: states,
        "The weights are added; they multiply.": lambda states, weights: states + weights[:, None],
    },
)
