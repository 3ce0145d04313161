"""Chapter 09: the exercise `guidance.attention_weights`."""

import math

import torch
import torch.nn.functional as F

from sdlearn import guidance
from sdlearn.exercises.bank import Case, Exercise, learnt


def _weights_cases():
    yield Case((torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4)), "more keys than queries")
    yield Case((torch.randn(1, 2, 6, 8), torch.randn(1, 2, 3, 8)), "more queries than keys")
    yield Case((100 * torch.randn(2, 1, 4, 3), torch.randn(2, 1, 4, 3)), "large queries")
    q, k = learnt(torch.randn(1, 2, 4, 5)), learnt(torch.randn(1, 2, 6, 5))
    yield Case((q, k), "q and k want a gradient")


def _scores(q, k):
    return q @ k.transpose(-2, -1)


def _ready(q, k):
    """The scores as the softmax takes them."""
    return _scores(q, k) / math.sqrt(q.shape[-1])


def _divided(size):
    """Weights whose scores are divided by the root of another size."""
    return lambda q, k: (_scores(q, k) / math.sqrt(size(q, k))).softmax(dim=-1)


WEIGHTS = Exercise(
    "guidance.attention_weights",
    reference=guidance.attention_weights,
    cases=_weights_cases,
    advice={
        "batch2|must match.* dimension [01]$": "k has to be turned round in its last two "
        "dimensions: k.transpose(-2, -1).",
        r"call numpy\(\)": "Stay with torch: through NumPy no gradient comes back.",
    },
    hints=[
        "Every query with every key: a matrix product, for which k has to be turned round: "
        "k.transpose(-2, -1) is [B, heads, d, M].",
        "Divide the product by math.sqrt(q.shape[-1]), then take the softmax. Each place of the "
        "picture shares out 1 among the tokens: which dimension are the tokens?",
        "return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)",
    ],
    mistakes={
        "The softmax is over the queries, so that each word would share itself out among the "
        "places. Each place shares out 1 among the words: dim=-1.": lambda q, k: _ready(
            q, k
        ).softmax(dim=-2),
        "The division by √d is missing.": lambda q, k: _scores(q, k).softmax(dim=-1),
        "The scores are divided by d; it should be √d.": lambda q, k: (
            _scores(q, k) / q.shape[-1]
        ).softmax(dim=-1),
        "The scores are multiplied by √d; they should be divided.": lambda q, k: (
            _scores(q, k) * math.sqrt(q.shape[-1])
        ).softmax(dim=-1),
        "d is the size of a head, the last dimension of q; yours is L, the number of "
        "queries.": _divided(lambda q, k: q.shape[2]),
        "d is the size of a head, the last dimension of q; yours is M, the number of "
        "keys.": _divided(lambda q, k: k.shape[2]),
        "d is the size of a head, the last dimension of q; yours is the number of heads.": _divided(
            lambda q, k: q.shape[1]
        ),
        "d is the size of a head, the last dimension of q; yours is that of all heads "
        "together.": _divided(lambda q, k: q.shape[1] * q.shape[3]),
        "The softmax is missing: these are the scores.": _ready,
        "The division comes after the softmax, so the rows do not add up to 1: divide "
        "before.": lambda q, k: _scores(q, k).softmax(dim=-1) / math.sqrt(q.shape[-1]),
        "This is the logarithm of the weights: softmax, not log_softmax.": lambda q, k: _ready(
            q, k
        ).log_softmax(dim=-1),
        "Queries and keys are exchanged: rows are places of the picture, columns are "
        "words.": lambda q, k: _ready(k, q).softmax(dim=-1),
        "The scores are only divided by their sum; the softmax takes their exponentials "
        "first.": lambda q, k: _scores(q, k) / _scores(q, k).sum(dim=-1, keepdim=True),
        "The softmax is over the heads; it should be over the words, the last "
        "dimension.": lambda q, k: _ready(q, k).softmax(dim=1),
        "There is a minus sign before the scores: the nearest key gets the smallest "
        "share.": lambda q, k: (-_ready(q, k)).softmax(dim=-1),
        "The scores are multiplied by d; they should be divided by √d.": lambda q, k: (
            _scores(q, k) * q.shape[-1]
        ).softmax(dim=-1),
        "The scores are divided by d²; it should be √d.": lambda q, k: (
            _scores(q, k) / q.shape[-1] ** 2
        ).softmax(dim=-1),
        "The scores are always divided by 8, the √d of d = 64: d is the last dimension of "
        "q.": _divided(lambda q, k: 64),
        "The scores are always divided by 2, the √d of d = 4: d is the last dimension of "
        "q.": _divided(lambda q, k: 4),
        "The numbers of k are only put into another shape (view or reshape), which mixes "
        "the keys up: k.transpose(-2, -1) turns it round.": lambda q, k: (
            q @ k.reshape(*k.shape[:2], q.shape[-1], -1) / math.sqrt(q.shape[-1])
        ).softmax(dim=-1),
        "The softmax is over the pictures of the batch; it should be over the words, the last "
        "dimension.": lambda q, k: _ready(q, k).softmax(dim=0),
        "The softmax is over places and words together, so that the whole table adds up to 1. "
        "Each row should: dim=-1.": lambda q, k: (
            _ready(q, k).flatten(2).softmax(dim=-1).view_as(_scores(q, k))
        ),
        "Each score becomes a share by itself (sigmoid), so the rows do not add up to 1: softmax "
        "over the words.": lambda q, k: _ready(q, k).sigmoid(),
        "These are the exponentials of the scores: each row still has to be divided by its sum, "
        "which softmax does.": lambda q, k: _ready(q, k).exp(),
        "One word takes all, the one with the largest score (argmax); softmax gives each word a "
        "share.": lambda q, k: F.one_hot(_scores(q, k).argmax(dim=-1), k.shape[-2]).float(),
        "This is A k, what each place is given if k are the values; A itself is asked "
        "for.": lambda q, k: _ready(q, k).softmax(dim=-1) @ k,
        "The exponentials are divided by their sum over the queries, dim=-2; each place shares out "
        "1 among the words, dim=-1. (Take softmax: large scores make exponentials "
        "infinite.)": lambda q, k: _ready(q, k).exp() / _ready(q, k).exp().sum(-2, keepdim=True),
        "The exponential of a large score is infinite, and the share NaN. softmax first subtracts "
        "the largest score of the row, which leaves the shares as they are.": lambda q, k: (
            _ready(q, k).exp() / _ready(q, k).exp().sum(dim=-1, keepdim=True)
        ),
    },
)
