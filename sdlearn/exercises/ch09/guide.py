"""Chapter 09: the exercise `guidance.guide`."""

import torch

from sdlearn import guidance
from sdlearn.exercises.bank import Case, Exercise


def _guide_cases():
    yield Case((torch.randn(4, 6, 2, 2), 7.5), "two pictures, guidance 7.5")
    yield Case((40 * torch.randn(6, 2), 2.0), "three points, guidance 2")
    yield Case((torch.randn(2, 4, 3, 3), 1.0), "guidance 1")
    yield Case((torch.randn(2, 4, 3, 3), 0.0), "guidance 0")


def _halves(wrong):
    """A wrong guide: a function of both halves and the guidance."""
    return lambda output, guidance: wrong(*output.chunk(2), guidance)


def _guided(u, c, g):
    return u + g * (c - u)


GUIDE = Exercise(
    "guidance.guide",
    reference=guidance.guide,
    cases=_guide_cases,
    hints=[
        "output.chunk(2) gives the two halves of the batch; the first had the empty prompt.",
        "With guidance 0 the answer is the first half's, with guidance 1 the second half's.",
        "without + guidance * (with_prompt - without)",
    ],
    mistakes={
        "It is the formula with both answers exchanged, and moves away from the prompt: at "
        "guidance 1 it gives the first half, the empty prompt's. Either the halves or the two "
        "terms are the wrong way round.": _halves(lambda u, c, g: c + g * (u - c)),
        "The sign of the difference is wrong: it points from the empty prompt to the prompt, "
        "with_prompt - without.": _halves(lambda u, c, g: u + g * (u - c)),
        "The step begins at the prompt's answer; it begins at the empty prompt's. Guidance 1 would "
        "be 2.": _halves(lambda u, c, g: c + g * (c - u)),
        "The empty prompt's answer is not added: it is where the step begins.": _halves(
            lambda u, c, g: g * (c - u)
        ),
        "The two answers are added, not compared: with_prompt - without.": _halves(
            lambda u, c, g: u + g * (c + u)
        ),
        "Only the prompt's answer is scaled: the difference between both is.": _halves(
            lambda u, c, g: u + g * c
        ),
        "This is the prompt's answer alone: guidance does not appear in it.": _halves(
            lambda u, c, g: c
        ),
        "This is the prompt's answer times the guidance; the empty prompt's is missing.": _halves(
            lambda u, c, g: g * c
        ),
        "This is the mean of both halves: guidance does not appear in it.": _halves(
            lambda u, c, g: (u + c) / 2
        ),
        "Your answer still has the doubled batch, 2B: output.chunk(2), along dim 0, gives the "
        "halves.": lambda output, guidance: output * guidance,
        "The empty prompt's half is still in it: one answer for each picture is expected, B, "
        "not 2B.": _halves(lambda u, c, g: torch.cat([u, _guided(u, c, g)])),
        "The batch is taken in turns (::2); the two halves are one after the other: "
        "chunk(2).": lambda output, guidance: output[::2] + guidance * (output[1::2] - output[::2]),
        "guidance - 1 in place of guidance: that is the paper's w, which is added to the prompt's "
        "answer. From the empty prompt's, it is guidance.": _halves(
            lambda u, c, g: u + (g - 1) * (c - u)
        ),
        "The channels are taken apart, dim=1; output.chunk(2), along dim 0, takes the batch "
        "apart.": lambda output, guidance: _guided(*output.chunk(2, dim=1), guidance),
        "The last dimension is taken apart, dim=-1; output.chunk(2), along dim 0, takes the batch "
        "apart.": lambda output, guidance: _guided(*output.chunk(2, dim=-1), guidance),
        "Only the first two entries of the batch are used, output[0] and output[1]; "
        "output.chunk(2) gives the halves, B entries each.": lambda output, guidance: _guided(
            output[0], output[1], guidance
        ),
        "The batch is cut after its first entry, [:1] and [1:]; output.chunk(2) gives the halves, "
        "B entries each.": lambda output, guidance: _guided(output[:1], output[1:], guidance),
        "The answer is there twice, 2B: one for each picture is expected, B.": _halves(
            lambda u, c, g: torch.cat([_guided(u, c, g)] * 2)
        ),
        "These are both halves, stacked: they still have to become one answer, [B, ...].": _halves(
            lambda u, c, g: torch.stack([u, c])
        ),
        "It equals guidance * with_prompt - without. The weights of the two answers should add up "
        "to 1: guidance and 1 - guidance.": _halves(lambda u, c, g: g * c - u),
        "It equals (1 - guidance) * without + with_prompt. The weights of the two answers should "
        "add up to 1: 1 - guidance and guidance.": _halves(lambda u, c, g: (1 - g) * u + c),
        "1 - guidance in place of guidance - 1: from the prompt's answer, the rest of the way is "
        "(guidance - 1) * (with_prompt - without).": _halves(lambda u, c, g: c + (1 - g) * (c - u)),
        "It equals (without + guidance) * (with_prompt - without): guidance is to multiply the "
        "difference, before without is added.": _halves(lambda u, c, g: (u + g) * (c - u)),
        "This is a weighted mean of both answers, which stays between them. Guidance above 1 is to "
        "go beyond the prompt's.": _halves(lambda u, c, g: (u + g * c) / (1 + g)),
        "At guidance 0 it gives the prompt's answer; the empty prompt's is asked for. Below 1 the "
        "formula is the same as above.": _halves(lambda u, c, g: _guided(u, c, max(g, 1))),
    },
)
