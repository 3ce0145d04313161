"""Chapter 09: the exercise `guidance.word_map`."""

import math

import torch

from sdlearn import guidance
from sdlearn.exercises.bank import Case, Exercise


def _map_cases():
    def weights(*shape):
        return torch.randn(shape).softmax(dim=-1)

    yield Case((weights(2, 5, 16, 9), [2, 4, 7], (2, 8)), "a word of three tokens, 2 × 8 places")
    yield Case((weights(1, 4, 36, 5), [3], (9, 4)), "one token, 9 × 4 places")
    yield Case((weights(2, 2, 16, 7), [5, 2], (4, 4)), "tokens 5 and 2, 4 × 4 places")


def _map(wrong):
    """A wrong word_map: a function of weights and tokens that gives [B, H·W]."""
    return lambda weights, tokens, size: wrong(weights, tokens).unflatten(1, size)


def _summed(weights, tokens):
    return weights[..., tokens].sum(dim=-1)


def _share(weights, tokens):
    return _summed(weights, tokens).mean(dim=1)


def _stretched(share, dim):
    low, high = share.amin(dim, keepdim=True), share.amax(dim, keepdim=True)
    return (share - low) / (high - low)


def _transposed(weights, tokens, size):
    height, width = size
    return _share(weights, tokens).unflatten(1, (width, height)).transpose(1, 2)


MAP = Exercise(
    "guidance.word_map",
    reference=guidance.word_map,
    cases=_map_cases,
    advice={
        # Places are 16 and more, the word's tokens fewer than ten.
        r"dim \d \(\d\)|of size \d$|out of bounds": "The word's tokens are columns, in the last "
        "dimension of weights: weights[..., tokens].",
        "tuple of ints": "size is a tuple: unflatten takes it as it is, view and reshape as *size.",
    },
    hints=[
        "First the mean over the heads, which leaves [B, H·W, M]; then the columns of the word.",
        "weights.mean(dim=1)[:, :, tokens] is [B, H·W, number of tokens]: add these up.",
        "share.unflatten(1, size) makes [B, H·W] a picture, [B, H, W].",
    ],
    mistakes={
        "The tokens of a word are averaged; what they get adds up: sum(dim=-1).": _map(
            lambda w, t: w.mean(dim=1)[:, :, t].mean(dim=-1)
        ),
        "The heads are added up, so that a place could give more than 1: take their mean.": _map(
            lambda w, t: w.sum(dim=1)[:, :, t].sum(dim=-1)
        ),
        "Only the first head is looked at: take the mean of all.": _map(
            lambda w, t: w[:, 0][:, :, t].sum(dim=-1)
        ),
        "This takes the largest of the heads; take their mean.": _map(
            lambda w, t: w.amax(dim=1)[:, :, t].sum(dim=-1)
        ),
        "The mean over the heads, dim=1, is missing: yours has one map for each "
        "head.": lambda weights, tokens, size: _summed(weights, tokens).unflatten(2, size),
        "The mean over the heads, dim=1, is missing: yours has the heads in the "
        "batch.": lambda weights, tokens, size: (
            _summed(weights, tokens).flatten(0, 1).unflatten(1, size)
        ),
        "The mean is over the pictures, dim=0; it should be over the heads, dim=1.": _map(
            lambda w, t: _summed(w, t).mean(dim=0)
        ),
        "The sum over the word's tokens is missing.": lambda weights, tokens, size: (
            weights[..., tokens].mean(dim=1).unflatten(1, size).squeeze(-1)
        ),
        "The shares of the word's tokens are multiplied; they add up: sum(dim=-1).": _map(
            lambda w, t: w.mean(dim=1)[:, :, t].prod(dim=-1)
        ),
        "The largest share of the word's tokens is taken; they add up: sum(dim=-1).": _map(
            lambda w, t: w.mean(dim=1)[:, :, t].amax(dim=-1)
        ),
        "Only the first token of the word is looked at.": _map(
            lambda w, t: w.mean(dim=1)[:, :, t[0]]
        ),
        "Height and width are exchanged: places are numbered row by row.": _transposed,
        "The neighbour's column: tokens already counts the start token.": _map(
            lambda w, t: _share(w, [i + 1 for i in t])
        ),
        "The column before the word's: tokens are indices already, counted from 0.": _map(
            lambda w, t: _share(w, [i - 1 for i in t])
        ),
        "The map is stretched to end at 1; the shares themselves are asked for.": _map(
            lambda w, t: _share(w, t) / _share(w, t).amax(dim=1, keepdim=True)
        ),
        "The map is scaled so that its places add up to 1; the shares themselves are asked "
        "for.": _map(lambda w, t: _share(w, t) / _share(w, t).sum(dim=1, keepdim=True)),
        "These are the other tokens' shares: the word's own columns are asked for.": _map(
            lambda w, t: 1 - _share(w, t)
        ),
        "The batch is averaged away: one map for each picture.": lambda weights, tokens, size: (
            _share(weights, tokens).mean(dim=0).unflatten(0, size)
        ),
        "The map is still a row of places: unflatten(1, size) makes it a "
        "picture.": lambda weights, tokens, size: _share(weights, tokens),
        "The map is stretched to end at 1, by the largest of the batch; the shares themselves are "
        "asked for.": _map(lambda w, t: _share(w, t) / _share(w, t).max()),
        "The map is stretched from 0 to 1; the shares themselves are asked for.": _map(
            lambda w, t: _stretched(_share(w, t), dim=1)
        ),
        "The map is stretched from 0 to 1, by the smallest and largest of the batch; the shares "
        "themselves are asked for.": _map(lambda w, t: _stretched(_share(w, t), dim=(0, 1))),
        "Only the last token of the word counts; the shares of all add up. (A loop that assigns "
        "anew keeps the last.)": _map(lambda w, t: w.mean(dim=1)[:, :, t[-1]]),
        "All columns from the first token to the last are added up, and those between are not the "
        "word's: weights[..., tokens] takes the list.": _map(
            lambda w, t: w[..., t[0] : t[-1] + 1].sum(dim=-1).mean(dim=1)
        ),
        "The columns from the first token to before the last are added up: weights[..., tokens] "
        "takes the list.": _map(lambda w, t: w[..., t[0] : t[-1]].sum(dim=-1).mean(dim=1)),
        "The word's tokens are in the batch: before the places become a picture, add the tokens "
        "up, sum(dim=-1).": lambda weights, tokens, size: (
            weights[..., tokens].mean(dim=1).reshape(-1, *size)
        ),
        "A softmax is taken once more: weights are shares already.": _map(
            lambda w, t: _share(w.softmax(dim=-1), t)
        ),
        "Places, heads and tokens are mixed up by a reshape: first the mean over the heads, dim=1, "
        "and the sum over the tokens.": _map(
            lambda w, t: w[..., t].reshape(len(w), w.shape[2], -1).mean(dim=-1)
        ),
        "The batch comes last; it should come first: reshape(-1, *size), or unflatten(1, "
        "size).": lambda weights, tokens, size: _share(weights, tokens).reshape(*size, -1),
        "The picture is taken for a square, √(H·W) on each side: its height and width are "
        "size.": lambda weights, tokens, size: _share(weights, tokens).reshape(
            -1, math.isqrt(weights.shape[2]), math.isqrt(weights.shape[2])
        ),
    },
)
