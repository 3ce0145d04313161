"""The exercises of chapter 09, cross-attention and guidance."""

import functools
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


def _drop_cases():
    def contexts(batch, length, dim):
        return torch.randn(batch, length, dim), torch.randn(1, length, dim)

    def seeded(n):
        return torch.Generator().manual_seed(n)

    yield Case((*contexts(60, 3, 2), 0.25, seeded(1)), "a quarter is dropped")
    yield Case((*contexts(60, 5, 4), 0.9, seeded(2)), "nine in ten are dropped")
    yield Case((*contexts(300, 2, 3), 0.0, seeded(3)), "none is dropped")
    yield Case((*contexts(6, 2, 3), 1.0, seeded(4)), "all are dropped")
    yield Case((*contexts(250, 3, 2), 0.004, seeded(5)), "four in a thousand are dropped")
    yield Case((*contexts(1, 3, 2), 0.5, seeded(11)), "a batch of one caption")
    yield Case((*contexts(60, 3, 2), 0.4, None), "no generator is given")


def _drop(chance, keep=False, put=None):
    """A wrong drop_captions: what is drawn, where it counts, and what takes the caption's place."""

    def answer(context, empty, share, generator=None):
        drawn = chance(context, generator)
        dropped = drawn >= share if keep else drawn < share
        return torch.where(dropped, empty if put is None else put(context, empty), context)

    return answer


def _each(context, generator):
    return torch.rand(len(context), 1, 1, generator=generator)


def _drop_tenth(context, empty, share, generator=None):
    return torch.where(_each(context, generator) < 0.1, empty, context)


def _order(context, generator):
    return torch.randperm(len(context), generator=generator)[:, None, None]


def _whole(context, empty, got):
    """True if each caption of an answer is the one that was there, or the empty prompt's."""
    if not isinstance(got, torch.Tensor):
        return False
    if (got.shape, got.dtype, got.device) != (context.shape, context.dtype, context.device):
        return False
    kept, dropped = (torch.isclose(got, x).flatten(1).all(dim=1) for x in (context, empty))
    return bool((kept | dropped).all())


@functools.lru_cache(500)
def _as_good(answer, share, given):
    """True if captions are dropped with the chance `share`, each for itself: 100 batches of 100.

    And if the generator decides which: the `given` one, else torch's own.
    """
    generator = torch.Generator() if given else torch.default_generator

    def drawn():
        generator.manual_seed(1)
        batch = torch.ones(100, 2, 1), torch.zeros(1, 2, 1), share
        batches = [answer(*batch, *[generator] * given) for _ in range(100)]
        return 1 - torch.stack(batches)[..., 0]

    try:
        dropped, again = drawn(), drawn()
    except Exception:  # the student was not asked for these inputs
        return False
    one, other = dropped.unbind(dim=2)  # the captions have two tokens
    spread = share * (1 - share)
    if spread == 0 or not (torch.equal(dropped, again) and torch.equal(one, other)):
        return False
    counts = [one.sum(dim=dim).var() / (100 * spread) for dim in (0, 1)]  # about 1
    near = abs(float(one.mean()) - share) < 4.5 * math.sqrt(spread / 100**2)
    return near and all(0.4 < count < 2 for count in counts)


def _run_drop(answer, context, empty, share, generator):
    """The answer; the reference's if it drops other captions that are drawn just as well."""
    torch.rand(1)  # else a seed 0 in the answer would be what it starts from, see trial.reseed
    source, given = generator or torch.default_generator, generator is not None
    start = source.get_state()
    right = guidance.drop_captions(context, empty, share, source)
    source.set_state(start)
    got = answer(context, empty, share, *[source] * given)
    other = not DROP.equal(right, got) and _whole(context, empty, got)
    return right if other and _as_good(answer, share, given) else got


DROP = Exercise(
    "guidance.drop_captions",
    reference=guidance.drop_captions,
    cases=_drop_cases,
    run=_run_drop,
    advice={
        r"tensor [ab] \(\d": "One number for each caption has to have the shape [B, 1, 1] to go "
        "with [B, L, D].",
        "shape of the mask": "As an index, context[dropped], a mask is [B]; torch.where takes one "
        "of [B, 1, 1].",
        "stack expects": "empty is [1, L, D]; a single caption is empty[0].",
        "argument: 'generator'": "It may be left out: generator=None in the first line.",
        "'NoneType' object": "generator may be None; torch.rand takes that, too.",
    },
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
        "It drops the same captions each time, those that the seed 0 gives: leave out "
        "manual_seed, and go on with the generator as it is.": _drop(
            lambda c, g: _each(c, torch.Generator().manual_seed(0))
        ),
        "Without a generator it drops the same captions each time: a new torch.Generator() always "
        "has the same seed. Pass None on to torch.rand.": _drop(
            lambda c, g: _each(c, g or torch.Generator())
        ),
        "The dropped captions are missing: the batch keeps its size, [B, L, D], and they become "
        "the empty prompt's (torch.where).": lambda context, empty, share, generator=None: context[
            _each(context, generator).flatten() >= share
        ],
        "One number decides for the whole batch, which then is empty, [1, L, D]: draw one for each "
        "caption.": lambda context, empty, share, generator=None: (
            empty if torch.rand(1, generator=generator) < share else context
        ),
        "Context and empty are blended, the same for all. Each caption stays, or becomes the empty "
        "prompt's.": lambda context, empty, share, generator=None: (
            share * empty + (1 - share) * context
        ),
        "It equals F.dropout: single numbers become 0, and the others larger. A caption is dropped "
        "as a whole, and becomes the empty prompt's.": lambda context, empty, share, g=None: (
            F.dropout(context, share)
        ),
        "A tenth is dropped, whatever share is: compare with share.": _drop_tenth,
        "Only a hundredth of the share is dropped: torch.rand is between 0 and 1, as share "
        "is.": _drop(lambda c, g: 100 * _each(c, g)),
        "The chance is a multiple of 1/10 (torch.randint with 10 numbers), so 0.25 becomes 0.3: "
        "torch.rand takes any share.": _drop(
            lambda c, g: torch.randint(10, (len(c), 1, 1), generator=g) / 10
        ),
        "The chance is a multiple of 1/100 (torch.randint with 100 numbers), so 0.004 becomes "
        "0.01: torch.rand takes any share.": _drop(
            lambda c, g: torch.randint(100, (len(c), 1, 1), generator=g) / 100
        ),
    },
)


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

EXERCISES = [WEIGHTS, DROP, GUIDE, MAP]
