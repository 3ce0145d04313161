"""Chapter 08: the exercise `text.at_end`."""

import torch
import torch.nn.functional as F

from sdlearn import clip
from sdlearn.exercises.bank import Case, Exercise


def _at_end_cases():
    end = 9
    ids = torch.tensor([[8, 1, 2, 9, 9, 9], [8, 9, 9, 9, 9, 9], [8, 3, 4, 5, 6, 9]])
    yield Case((torch.randn(3, 6, 4), ids, end), "three texts, padded with the end token")
    ids = torch.tensor([[8, 11, 9, 0, 0], [8, 10, 12, 9, 0]])
    yield Case((torch.randn(2, 5, 3), ids, end), "padded with 0, and some numbers above the end's")
    hidden = torch.randn(1, 4, 2, requires_grad=True)  # so that a lost gradient is noticed
    yield Case((hidden, torch.tensor([[7, 3, 5, 2]]), 5), "one text of another kind")


def _take(place):
    """A wrong at_end: place(ids, end) gives the places [B]."""

    def answer(hidden, ids, end):
        where = place(ids, end).clamp(0, ids.shape[1] - 1)
        return hidden[torch.arange(len(ids)), where]

    return answer


def _first(ids, end):
    return (ids == end).int().argmax(1)


AT_END = Exercise(
    "text.at_end",
    reference=clip.at_end,
    cases=_at_end_cases,
    hints=[
        "Where is the first end token of each row? ids == end is True there, and may be in the "
        "padding behind it.",
        "(ids == end).int().argmax(dim=1) gives the place of the first 1 in each row: [B]. "
        "(argmax takes no bools, so .int() is needed.)",
        "Pick row i at place ends[i] for all i at once: hidden[torch.arange(len(ids)), ends].",
    ],
    mistakes={
        "The last place of the row is taken: with most texts that is padding.": (
            lambda hidden, ids, end: hidden[:, -1]
        ),
        "The first place is taken, the start token, which has seen nothing of the text. (argmax "
        "gives place 0 as well where it finds nothing: are the ids compared with `end`?)": (
            lambda hidden, ids, end: hidden[:, 0]
        ),
        "The token before the end token is taken.": _take(lambda ids, end: _first(ids, end) - 1),
        "The token after the end token is taken.": _take(lambda ids, end: _first(ids, end) + 1),
        "The last end token is taken; behind the first there is only padding.": _take(
            lambda ids, end: ids.shape[1] - 1 - (ids == end).flip(1).int().argmax(1)
        ),
        "The place of the largest number is taken, which need not be the end token: compare "
        "with `end`.": _take(lambda ids, end: ids.argmax(1)),
        "That is the mean of all states; the end token's alone is wanted.": (
            lambda hidden, ids, end: hidden.mean(1)
        ),
        "All end tokens of a row are averaged; take the first.": lambda hidden, ids, end: (
            (hidden * (ids == end)[..., None]).sum(1) / (ids == end).sum(1, keepdim=True)
        ),
        "All end tokens of a row are added up; take the first.": lambda hidden, ids, end: (
            hidden * (ids == end)[..., None]
        ).sum(1),
        "The number of end tokens of a row is taken for a place.": _take(
            lambda ids, end: (ids == end).sum(1)
        ),
        "All tokens that are not the end token are counted. That is right only where the padding "
        "is the end token; padding of 0, as in Stable Diffusion 2.x, is counted as text: look for "
        "the first place with ids == end.": _take(lambda ids, end: (ids != end).sum(1)),
        "Numbers above that of the end token count as the end: compare with ==.": _take(
            lambda ids, end: (ids >= end).int().argmax(1)
        ),
        "That is the mean of the text's own tokens; the end token's state alone is wanted.": (
            lambda hidden, ids, end: (
                (hidden * (ids != end)[..., None]).sum(1) / (ids != end).sum(1, keepdim=True)
            )
        ),
        "The vectors are brought to length 1; give them as they are, the loss does that.": (
            lambda hidden, ids, end: F.normalize(clip.at_end(hidden, ids, end), dim=1)
        ),
        "The states of all end tokens are picked, padding included: one for each text is wanted, "
        "the first.": lambda hidden, ids, end: hidden[ids == end],
        "Each text gets the vectors at the places of all texts, [B, B, D]: row i belongs to place "
        "i alone, so index both, hidden[torch.arange(len(ids)), places].": (
            lambda hidden, ids, end: hidden[:, _first(ids, end)]
        ),
        "These are the places of the end tokens; their vectors in `hidden` are wanted.": (
            lambda hidden, ids, end: _first(ids, end)
        ),
        "The place is one too early where the padding is the end token, and counts the padding "
        "where it is not: look for the first place with ids == end.": _take(
            lambda ids, end: (ids != end).sum(1) - 1
        ),
        "The place of the first text is used for all.": _take(
            lambda ids, end: _first(ids, end)[:1].expand(len(ids))
        ),
    },
)
