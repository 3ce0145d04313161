"""Chapter 04: the exercise `training.update_ema`."""

import torch
from torch import nn

from sdlearn import train
from sdlearn.exercises.bank import Case, Exercise


def _nets():
    """An average and a model, with weights that differ."""
    ema, model = nn.Linear(3, 2).requires_grad_(False), nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.data += 1.0
    return ema, model


def _ema_cases():
    for step, decay, label in (
        (0, 0.9, "it is step 0"),
        (20, 0.999, "step 20, where the average is still young"),
        (5000, 0.9, "step 5000"),
    ):
        yield Case((*_nets(), step, decay), label)


def _weights(answer, ema, model, step, decay):
    """The weights of both after the answer; None if it has changed neither."""

    def flat(net):
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    before = flat(ema), flat(model)
    answer(ema, model, step, decay)
    after = flat(ema), flat(model)
    return None if all(map(torch.equal, before, after)) else after


def _ramp(decay, step):
    return min(decay, (1 + step) / (10 + step))


def _average(new, decay=_ramp):
    """A wrong update_ema: new(average, value, decay), and the decay from (decay, step)."""

    @torch.no_grad()
    def answer(ema, model, step, given):
        for average, value in zip(ema.parameters(), model.parameters()):
            average.copy_(new(average, value, decay(given, step)))

    return answer


@torch.no_grad()
def _model_moves(ema, model, step, decay):
    train.update_ema(model, ema, step, decay)


@torch.no_grad()
def _ema_and_model(ema, model, step, decay):
    train.update_ema(ema, model, step, decay)
    for average, value in zip(ema.parameters(), model.parameters()):
        value.copy_(average)


@torch.no_grad()
def _written_to_model(ema, model, step, decay):
    for average, value in zip(ema.parameters(), model.parameters()):
        value.lerp_(average, _ramp(decay, step))


@torch.no_grad()
def _bias_forgotten(ema, model, step, decay):
    ema.weight.lerp_(model.weight, 1 - _ramp(decay, step))


def _right(average, value, decay):
    return decay * average + (1 - decay) * value


UPDATE_EMA = Exercise(
    "training.update_ema",
    reference=train.update_ema,
    cases=_ema_cases,
    run=_weights,
    returns=("average weights", "model's weights"),
    changes=("ema", "model"),
    hints=[
        "The new average is decay · average + (1 - decay) · value.",
        "average = … would only give another tensor this name. A method with an underscore at its "
        "end changes the tensor itself: mul_, add_, copy_, lerp_.",
        "average.lerp_(value, 1 - decay) goes the share 1 - decay of the way to value.",
    ],
    mistakes={
        "Nothing has changed. average = … gives the name to a new tensor, and the module keeps "
        "the old one: change it in place, "
        "with average.copy_(…) or average.lerp_(…).": lambda ema, model, step, decay: None,
        "The shares are exchanged: the average keeps `decay` of itself and takes 1 - decay of "
        "the new value.": _average(lambda a, v, d: (1 - d) * a + d * v),
        "The new value is added in full: it counts 1 - decay.": _average(lambda a, v, d: d * a + v),
        "The new value is missing: the average shrinks to 0.": _average(lambda a, v, d: d * a),
        "The average is the model's weights themselves now: it should move towards them by "
        "the share 1 - decay only.": _average(lambda a, v, d: v),
        "1 - decay of the value is added, but nothing of the old average taken away: multiply "
        "it by decay.": _average(lambda a, v, d: a + (1 - d) * v),
        "The sign: average + (1 - decay) · (value - average) moves towards the value.": _average(
            lambda a, v, d: a - (1 - d) * (v - a)
        ),
        "The decay is the same from the first step on: take the smaller one of `decay` and (1 + "
        "step) / (10 + step), min(…), or the random weights "
        "of the start stay in the average for long.": _average(_right, lambda decay, step: decay),
        "The decay is always (1 + step) / (10 + step); "
        "it should grow no further than `decay`.": _average(
            _right, lambda decay, step: (1 + step) / (10 + step)
        ),
        "This is the plain mean of both: the average should keep `decay` of itself.": _average(
            lambda a, v, d: (a + v) / 2
        ),
        "The model moves towards the average: leave "
        "the model as it is and move the average.": _model_moves,
        "The average is right, but the model has been changed as well: it must go on training "
        "from its own weights.": _ema_and_model,
        "The new average is written into the model: write it into `average`.": _written_to_model,
        "Only the weight matrix moves; the "
        "biases have to as well: all of .parameters().": _bias_forgotten,
    },
)
