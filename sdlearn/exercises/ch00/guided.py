"""Chapter 00: the exercise `start.guided`."""

import torch

from sdlearn import ideal
from sdlearn.exercises.bank import Case, Exercise


def _guided_cases():
    u, c = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    yield Case((u.clone(), c.clone(), 7.5), "guidance is 7.5")
    yield Case((u.clone(), c.clone(), 0.3), "guidance is below 1")
    each = torch.tensor([2.0, 5.0]).view(2, 1, 1, 1)
    yield Case((u.clone(), c.clone(), each), "each picture has its own guidance")


GUIDED = Exercise(
    "start.guided",
    reference=ideal.guided,
    cases=_guided_cases,
    hints=[
        "Start at one answer and walk along the arrow that leads to the other.",
        "With guidance 0 the result is the unconditional answer, with 1 the conditional one.",
        "The arrow is conditional - unconditional. Add guidance times it to the unconditional.",
    ],
    mistakes={
        "The arrow points the wrong way: it leads from the unconditional answer to the "
        "conditional one, conditional - unconditional.": lambda u, c, g: u + g * (u - c),
        "You start at the conditional answer, which is one arrow too far: with guidance 1 the "
        "result should be the conditional answer itself.": lambda u, c, g: c + g * (c - u),
        "The two answers are swapped: the larger the guidance, the more the prompt should "
        "count.": lambda u, c, g: c + g * (u - c),
        "The start is missing: the arrow is added to the unconditional answer.": lambda u, c, g: (
            g * (c - u)
        ),
        "The conditional answer itself is added, "
        "not its difference to the unconditional one.": lambda u, c, g: u + g * c,
        "The guidance multiplies the unconditional "
        "answer; it belongs to the arrow.": lambda u, c, g: g * u + (c - u),
        "Brackets are missing: the guidance multiplies the whole difference.": lambda u, c, g: (
            u + g * c - u
        ),
    },
)
