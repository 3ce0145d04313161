"""Chapter 04: the exercise `training.learning_rate`."""

import math

from sdlearn import train
from sdlearn.exercises.bank import Case, Exercise


def _rate_cases():
    yield Case((0, 100, 1.0, 10), "it is the first step")
    yield Case((4, 100, 2.0, 10), "the rate is still rising")
    yield Case((9, 100, 1.0, 10), "it is the last step of the warm-up")
    yield Case((10, 100, 1.0, 10), "the warm-up is just over")
    yield Case((55, 100, 2.0, 10), "half of the way down is done")
    yield Case((80, 100, 1.0, 10), "the rate is falling")
    yield Case((0, 50, 1.0, 0), "there is no warm-up")
    yield Case((49, 50, 1.0, 0), "it is the last step")


def _rate(rise=None, fall=None):
    """A wrong learning_rate: rise(step, warmup) and fall(step, steps, warmup), for lr = 1."""

    def answer(step, steps, lr, warmup):
        if step < warmup:
            return lr * (rise(step, warmup) if rise else (step + 1) / (warmup + 1))
        if fall:
            return lr * fall(step, steps, warmup)
        return train.learning_rate(step, steps, lr, warmup)

    return answer


def _cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


LEARNING_RATE = Exercise(
    "training.learning_rate",
    reference=train.learning_rate,
    cases=_rate_cases,
    hints=[
        "Two cases: if step < warmup the line, else the cosine.",
        "In the line, step 0 gives lr / (warmup + 1), so that even the first step moves.",
        "For the cosine: which share of the way down is done, 0 at step = warmup and 1 at steps? "
        "(step - warmup) / (steps - warmup). The rate is lr * (1 + math.cos(math.pi * share)) / 2.",
    ],
    mistakes={
        "The first step has the rate 0, so it does nothing: count from 1, "
        "(step + 1) / (warmup + 1).": _rate(lambda s, w: s / w),
        "The line ends a step early: it should reach lr in step `warmup`, where the cosine "
        "begins, so divide by warmup + 1.": _rate(lambda s, w: (s + 1) / w),
        "The first step has the rate 0, so it does nothing: it is step + 1 above the line.": _rate(
            lambda s, w: s / (w + 1)
        ),
        "There is no warm-up: for step < warmup the rate rises in a line.": _rate(lambda s, w: 1.0),
        "There is no line, the cosine begins "
        "at step 0: that is a curve without warm-up.": lambda step, steps, lr, warmup: (
            lr * _cosine(step / steps)
        ),
        "The cosine counts from step 0; it begins where the warm-up ends: "
        "(step - warmup) / (steps - warmup).": _rate(fall=lambda s, n, w: _cosine(s / n)),
        "The cosine would come to 0 too late: it has steps - warmup steps, not all of them.": _rate(
            fall=lambda s, n, w: _cosine((s - w) / n)
        ),
        "The rate falls in a line; asked is half a wave of the cosine.": _rate(
            fall=lambda s, n, w: 1 - (s - w) / (n - w)
        ),
        "After the warm-up the rate stays as it is; it should fall to 0.": _rate(
            fall=lambda s, n, w: 1.0
        ),
        "This is a quarter of a wave, which ends "
        "with a steep fall: (1 + cos(π · share)) / 2.": _rate(
            fall=lambda s, n, w: math.cos(math.pi / 2 * (s - w) / (n - w))
        ),
        "π is missing in the cosine.": _rate(
            fall=lambda s, n, w: (1 + math.cos((s - w) / (n - w))) / 2
        ),
        "The cosine alone goes from 1 to -1: add 1 and halve.": _rate(
            fall=lambda s, n, w: math.cos(math.pi * (s - w) / (n - w))
        ),
        "Halve it: 1 + cos goes from 2 to 0.": _rate(
            fall=lambda s, n, w: 2 * _cosine((s - w) / (n - w))
        ),
        "The rate rises after the warm-up: it is 1 + cos, not 1 - cos.": _rate(
            fall=lambda s, n, w: 1 - _cosine((s - w) / (n - w))
        ),
        "The curve is right for lr = "
        "1 but does not depend on lr: multiply by it.": lambda step, steps, lr, warmup: (
            train.learning_rate(step, steps, 1.0, warmup)
        ),
        "The line depends on lr, the cosine does not: multiply it by lr "
        "too.": lambda step, steps, lr, warmup: train.learning_rate(
            step, steps, lr if step < warmup else 1.0, warmup
        ),
        "The last step has the rate 0, so it does nothing: divide by steps - warmup, not by "
        "one less.": _rate(fall=lambda s, n, w: _cosine((s - w) / (n - 1 - w))),
    },
)
