"""The exercises of chapter 09, cross-attention and guidance."""

import math

import torch

from sdlearn import guidance
from sdlearn.exercises.bank import Case, Exercise


def _weights_cases():
    yield Case((torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4)), "more keys than queries")
    yield Case((torch.randn(1, 2, 6, 8), torch.randn(1, 2, 3, 8)), "more queries than keys")
    yield Case((4 * torch.randn(2, 1, 4, 3), torch.randn(2, 1, 4, 3)), "large queries")


def _scores(q, k):
    return q @ k.transpose(-2, -1)


def _divided(size):
    """Weights whose scores are divided by the root of another size."""
    return lambda q, k: (_scores(q, k) / math.sqrt(size(q, k))).softmax(dim=-1)


WEIGHTS = Exercise(
    "guidance.attention_weights",
    reference=guidance.attention_weights,
    cases=_weights_cases,
    hints=[
        "Every query with every key: a matrix product, for which k has to be turned round: "
        "k.transpose(-2, -1) is [B, heads, d, M].",
        "Divide the product by math.sqrt(q.shape[-1]), then take the softmax. Each place of the "
        "picture shares out 1 among the tokens: which dimension are the tokens?",
        "return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)",
    ],
    mistakes={
        "The softmax is over the queries, so that each word would share itself out among the "
        "places. Each place shares out 1 among the words: dim=-1.": lambda q, k: (
            _scores(q, k) / math.sqrt(q.shape[-1])
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
        "The softmax is missing: these are the scores.": lambda q, k: (
            _scores(q, k) / math.sqrt(q.shape[-1])
        ),
        "The division comes after the softmax, so the rows do not add up to 1: divide "
        "before.": lambda q, k: _scores(q, k).softmax(dim=-1) / math.sqrt(q.shape[-1]),
        "This is the logarithm of the weights: softmax, not log_softmax.": lambda q, k: (
            _scores(q, k) / math.sqrt(q.shape[-1])
        ).log_softmax(dim=-1),
        "Queries and keys are exchanged: rows are places of the picture, columns are "
        "words.": lambda q, k: (_scores(k, q) / math.sqrt(q.shape[-1])).softmax(dim=-1),
        "The scores are only divided by their sum; the softmax takes their exponentials "
        "first.": lambda q, k: _scores(q, k) / _scores(q, k).sum(dim=-1, keepdim=True),
        "The softmax is over the heads; it should be over the words, the last "
        "dimension.": lambda q, k: (_scores(q, k) / math.sqrt(q.shape[-1])).softmax(dim=1),
        "There is a minus sign before the scores: the nearest key gets the smallest "
        "share.": lambda q, k: (-_scores(q, k) / math.sqrt(q.shape[-1])).softmax(dim=-1),
    },
)


def _drop_cases():
    def contexts(batch, length, dim):
        return torch.randn(batch, length, dim), torch.randn(1, length, dim)

    def seeded(n):
        return torch.Generator().manual_seed(n)

    yield Case((*contexts(60, 3, 2), 0.3, seeded(1)), "three in ten are dropped")
    yield Case((*contexts(60, 5, 4), 0.9, seeded(2)), "nine in ten are dropped")
    yield Case((*contexts(6, 2, 3), 0.0, seeded(3)), "none is dropped")
    yield Case((*contexts(6, 2, 3), 1.0, seeded(4)), "all are dropped")


def _drop(chance, keep=False, put=None):
    """A wrong drop_captions: what is drawn, where it counts, and what takes the caption's place."""

    def answer(context, empty, share, generator=None):
        drawn = chance(context, generator)
        dropped = drawn >= share if keep else drawn < share
        return torch.where(dropped, empty if put is None else put(context, empty), context)

    return answer


def _each(context, generator):
    return torch.rand(len(context), 1, 1, generator=generator)


def _order(context, generator):
    return torch.randperm(len(context), generator=generator)[:, None, None]


def _run_drop(answer, context, empty, share, generator):
    """The answer; the reference's if it drops as many by the largest numbers, not the smallest."""
    twins = [torch.Generator().set_state(generator.get_state()) for _ in range(2)]
    right = guidance.drop_captions(context, empty, share, twins[0])
    as_good = torch.where(_each(context, twins[1]) < 1 - share, context, empty)
    got = answer(context, empty, share, generator)
    return right if DROP.equal(as_good, got) else got


DROP = Exercise(
    "guidance.drop_captions",
    reference=guidance.drop_captions,
    cases=_drop_cases,
    run=_run_drop,
    changes=("generator",),
    hints=[
        "Draw one number between 0 and 1 for each caption; where it is below `share`, the caption "
        "is dropped.",
        "torch.rand(len(context), 1, 1, generator=generator, device=context.device) has one number "
        "for each caption, in a shape that fits to [B, L, D].",
        "return torch.where(chance < share, empty, context)",
    ],
    mistakes={
        "The comparison is the wrong way round: you keep `share` of the captions and drop the "
        "others.": _drop(_each, keep=True),
        "The tokens are drawn for one by one, so that captions get holes. A caption is dropped as "
        "a whole: one number each, [B, 1, 1].": _drop(
            lambda c, g: torch.rand(*c.shape[:2], 1, generator=g)
        ),
        "One number for each place in the text, shared by all captions, which get holes there. A "
        "caption is dropped as a whole: one number each, [B, 1, 1].": _drop(
            lambda c, g: torch.rand(1, c.shape[1], 1, generator=g)
        ),
        "Every single number of the context is drawn for. A caption is dropped as a whole: one "
        "number each, [B, 1, 1].": _drop(lambda c, g: torch.rand(c.shape, generator=g)),
        "One number decides for the whole batch; draw one for each caption.": _drop(
            lambda c, g: torch.rand(1, 1, 1, generator=g)
        ),
        "Dropped captions become zeros. The empty prompt has states of its own: empty.": _drop(
            _each, put=lambda c, e: torch.zeros_like(c)
        ),
        "The numbers are normal (randn), half of them below 0; they should be evenly spread "
        "between 0 and 1: rand.": _drop(lambda c, g: torch.randn(len(c), 1, 1, generator=g)),
        "Nothing is dropped.": _drop(lambda c, g: torch.rand(len(c), 1, 1, generator=g) + 1),
        "The numbers do not come from the generator: generator=generator. Otherwise no run can be "
        "repeated.": _drop(lambda c, g: torch.rand(len(c), 1, 1)),
        "A fixed number of captions is dropped, always the first ones of the batch; each should "
        "have the same chance.": _drop(lambda c, g: torch.arange(len(c))[:, None, None] / len(c)),
        "The number dropped is fixed; each caption has its own chance.": _drop(
            lambda c, g: _order(c, g).argsort(dim=0) / len(c)
        ),
        "The order is drawn and the number dropped is fixed; each caption has its own "
        "chance.": _drop(lambda c, g: _order(c, g) / len(c)),
        "Dropped captions are exchanged for others of the batch; they should become the empty "
        "prompt.": _drop(_each, put=lambda c, e: c.roll(1, dims=0)),
        "The empty prompt is added to the caption; it should take its place.": _drop(
            _each, put=lambda c, e: c + e
        ),
    },
)


def _guide_cases():
    yield Case((torch.randn(4, 6, 2, 2), 7.5), "two pictures, guidance 7.5")
    yield Case((torch.randn(6, 2), 2.0), "three points, guidance 2")
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
        "The halves are exchanged: the first half of the batch is the empty prompt's. Yours moves "
        "away from the prompt.": _halves(lambda u, c, g: c + g * (u - c)),
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
    },
)


def _map_cases():
    def weights(*shape):
        return torch.randn(shape).softmax(dim=-1)

    yield Case((weights(2, 3, 8, 6), [2, 4], (2, 4)), "a word of two tokens, 2 × 4 places")
    yield Case((weights(1, 4, 15, 5), [1], (5, 3)), "one token, 5 × 3 places")
    yield Case((weights(2, 2, 16, 7), [4], (4, 4)), "4 × 4 places")


def _map(wrong):
    """A wrong word_map: a function of weights and tokens that gives [B, H·W]."""
    return lambda weights, tokens, size: wrong(weights, tokens).unflatten(1, size)


def _summed(weights, tokens):
    return weights[..., tokens].sum(dim=-1)


def _share(weights, tokens):
    return _summed(weights, tokens).mean(dim=1)


def _transposed(weights, tokens, size):
    height, width = size
    return _share(weights, tokens).unflatten(1, (width, height)).transpose(1, 2)


MAP = Exercise(
    "guidance.word_map",
    reference=guidance.word_map,
    cases=_map_cases,
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
    },
)

EXERCISES = [WEIGHTS, DROP, GUIDE, MAP]
