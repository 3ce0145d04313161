"""Chapter 10: the exercise `pipeline.skipped`."""

import math

from sdlearn import pipeline
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch10.common import NONE, refuse


def _skip_cases():
    yield Case((0.8, 25), "strength 0.8, 25 steps")
    yield Case((0.5, 15), "half of 15 steps")
    yield Case((0.35, 15), "strength 0.35, 15 steps")
    yield Case((0.7, 10), "strength 0.7, 10 steps")
    yield Case((0.55, 10), "strength 0.55, 10 steps")
    yield Case((1.0, 10), "strength 1")
    yield Case((0.1, 10), "one step is left")
    yield Case((0, 10), "strength 0: to be refused with a ValueError")
    yield Case((-0.4, 10), "a negative strength: to be refused with a ValueError")
    yield Case((1.5, 10), "strength 1.5: to be refused with a ValueError")
    yield Case((0.05, 10), "no step would be left: to be refused with a ValueError")


def _skip(
    taken=lambda strength, steps: int(steps * strength),
    right=lambda strength, taken: 0 < strength <= 1 and taken >= 1,
    result=lambda steps, taken: steps - taken,
    unfit=refuse,
):
    """A wrong skipped: one of its parts is another."""

    def answer(strength, steps):
        count = taken(strength, steps)
        if not right(strength, count):
            return unfit()
        return result(steps, count)

    return answer


SKIPPED = Exercise(
    "pipeline.skipped",
    reference=pipeline.skipped,
    cases=_skip_cases,
    refuses=ValueError,
    hints=[
        "How many steps are taken? steps · strength, cut to a whole number. The others are left "
        "out.",
        "What has to be refused can be told from strength and from the number of steps taken: ask "
        "before you return.",
        "taken = int(steps * strength); strength has to be above 0 and at most 1, and taken at "
        "least 1, or else raise ValueError(…). return steps - taken",
    ],
    mistakes={
        "These are the steps that are taken; the ones left out are asked for.": _skip(
            result=lambda steps, taken: taken
        ),
        "The number of steps is rounded; it is cut, int(…), as diffusers does it.": _skip(
            lambda strength, steps: round(steps * strength)
        ),
        "The steps taken are rounded up, or those left out are cut; cut those taken: steps - "
        "int(steps * strength).": _skip(lambda strength, steps: math.ceil(steps * strength)),
        "1 - strength is multiplied and cut, the steps left out; cut those taken: steps - "
        "int(steps * strength).": _skip(
            lambda strength, steps: steps - int(steps * (1 - strength)),
        ),
        "(1 - strength) · steps is a hair above 3 for strength 0.7 and 10 steps, and ceil makes 4 "
        "of it; cut the steps taken: steps - int(steps * strength).": _skip(
            lambda strength, steps: steps - math.ceil(steps * (1 - strength))
        ),
        "The steps left out, (1 - strength) · steps, are rounded; cut those taken: steps - "
        "int(steps * strength).": _skip(
            lambda strength, steps: steps - round(steps * (1 - strength))
        ),
        "It is always 20 steps of which the share is taken; steps says how many there are.": _skip(
            lambda strength, steps: int(20 * strength), result=lambda steps, taken: 20 - taken
        ),
        "Where no step is left, one is taken all the same: raise a ValueError there.": _skip(
            lambda strength, steps: max(1, int(steps * strength))
        ),
        NONE: _skip(unfit=lambda: None),
        "A fraction of a step is left: int(…) makes it whole.": _skip(
            lambda strength, steps: steps * strength,
            right=lambda strength, taken: 0 < strength <= 1 and taken >= 1,
        ),
        "One step is always left out; with strength 1 all are taken.": _skip(
            result=lambda steps, taken: max(1, steps - taken)
        ),
        "It is one too few; with strength 1 it has to be 0.": _skip(
            result=lambda steps, taken: steps - taken - 1
        ),
        "It is one too many.": _skip(result=lambda steps, taken: steps - taken + 1),
        "Strengths above 1 are accepted: raise a ValueError.": _skip(
            right=lambda strength, taken: strength > 0 and taken >= 1
        ),
        "A strength of 0 or less, or one that leaves no step, is accepted: raise a "
        "ValueError.": _skip(right=lambda strength, taken: strength <= 1),
        "A strength that leaves no step is accepted: raise a ValueError.": _skip(
            right=lambda strength, taken: 0 < strength <= 1
        ),
        "A strength out of place is moved into [0, 1] in silence: raise a ValueError.": _skip(
            lambda strength, steps: max(1, int(steps * min(1, max(0, strength)))),
            right=lambda strength, taken: True,
        ),
    },
)
