"""Chapter 01: the exercise `forward.zero_terminal`."""

import torch

from sdlearn import schedule
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.schedule import NoiseSchedule


def _zero_cases():
    yield Case((NoiseSchedule.scaled_linear(100, 0.0085, 0.12).alphas_cumprod,),
               "the schedule is scaled linear")  # fmt: skip
    yield Case((NoiseSchedule.linear(30, 0.01, 0.1).alphas_cumprod,), "the schedule is linear")


def _shift_only(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return (root - root[-1]) ** 2


def _divided_by_zero(alphas_cumprod):
    root = alphas_cumprod.sqrt() - alphas_cumprod.sqrt()[-1]
    return (root * root[0] / root[-1]) ** 2


def _shifted_by_first(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[0]) * root[0] / (root[0] - root[-1])) ** 2


def _without_brackets(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return (root - root[-1] * root[0] / (root[0] - root[-1])) ** 2


def _late_scale(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return (root - root[-1]) ** 2 * root[0] / (root[0] - root[-1])


def _no_square(alphas_cumprod):
    return schedule.zero_terminal(alphas_cumprod).sqrt()


def _without_root(alphas_cumprod):
    first, last = alphas_cumprod[0], alphas_cumprod[-1]
    return (alphas_cumprod - last) * first / (first - last)


def _to_one(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) / (root[0] - root[-1])) ** 2


def _last_set_to_zero(alphas_cumprod):
    return torch.cat([alphas_cumprod[:-1], torch.zeros_like(alphas_cumprod[:1])])


def _scaled_by_squares(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] + root[-1])) ** 2


def _scaled_by_last(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[-1] / (root[0] - root[-1])) ** 2


def _no_root_in_scale(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * alphas_cumprod[0] / (root[0] - root[-1])) ** 2


ZERO_TERMINAL = Exercise(
    "forward.zero_terminal",
    reference=schedule.zero_terminal,
    cases=_zero_cases,
    hints=[
        "Work on root = alphas_cumprod.sqrt(), and square the result at the end.",
        "root - root[-1] ends at 0. What does it begin with, and what should it begin with?",
        "Multiply by root[0] / (root[0] - root[-1]).",
    ],
    mistakes={
        "Shifted, but not scaled: it no longer begins where it began. Multiply the shifted root "
        "by root[0] / (root[0] - root[-1]), "
        "with both as they were before the shift.": _shift_only,
        "It is 0 everywhere, as if multiplied by root[-1] after the shift, when that is 0. "
        "Keep root[0] and root[-1] from before the shift.": torch.zeros_like,
        "It is divided by root[-1] after the shift: by then that is 0. Keep root[0] and "
        "root[-1] from before the shift, and divide by their difference.": _divided_by_zero,
        "root[0] is taken off; it is the "
        "end that should become 0: take root[-1] off.": _shifted_by_first,
        "Brackets are missing: root - root[-1] "
        "is scaled as a whole, (root - root[-1]) * ….": _without_brackets,
        "The scale is not squared: scale the shifted root first, then square.": _late_scale,
        "That is the root √ᾱ; the answer is ᾱ itself: square it at the end.": _no_square,
        "ᾱ itself was shifted and scaled; it is its root that has to be: take the root first, "
        "square at the end.": _without_root,
        "ᾱ itself was shifted, and not scaled; it is its root that has to be shifted, and scaled "
        "so that it begins where it began: take the root first, square at the end.": lambda a: (
            a - a[-1]
        ),
        "It begins at 1 now; it should begin where "
        "it began before: one more factor root[0].": _to_one,
        "Only the last entry was set to 0. That puts all that was left of the picture into one "
        "step; the whole curve has to be stretched.": _last_set_to_zero,
        "A sign in the scale: after the shift it "
        "begins at root[0] - root[-1]; divide by that.": _scaled_by_squares,
        "It is scaled by root[-1], the end; it should "
        "begin where it began: scale by root[0].": _scaled_by_last,
        "The factor is root[0], the first √ᾱ, not "
        "the first ᾱ: it is the root that is scaled.": _no_root_in_scale,
    },
)
