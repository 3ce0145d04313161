"""The exercises of chapter 08, the tokenizer and the text encoder."""

import math

import torch
import torch.nn.functional as F

from sdlearn import clip, tokenizer
from sdlearn.exercises.bank import Case, Exercise


def _merge_cases():
    yield Case((list("abcab"), ("a", "b")), "the pair occurs twice")
    yield Case((list("xyxyz"), ("y", "x")), "the pair occurs once, and turned round as well")
    yield Case((["a"] * 5, ("a", "a")), "five times the same symbol")
    yield Case((["s", "it", "t", "ing</w>"], ("it", "t")), "symbols of several letters")
    yield Case((["ab", "a", "b", "abc", "c"], ("ab", "c")), "joined symbols that look alike")
    yield Case((["c", "a", "t</w>"], ("a", "t")), "the pair does not occur")
    yield Case((["a</w>"], ("a</w>", "a</w>")), "there is one symbol")
    yield Case((["b", "a", "b"], ("b", "a")), "a symbol is left over at the end")


def _scan(symbols, pair, joined=None, step=2, stop=False):
    """merge by index: what is put in place of the pair, how far to go on, whether to end there."""
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged += [pair[0] + pair[1]] if joined is None else joined(pair)
            i += step
            if stop:
                return merged + symbols[i:]
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def _from_the_right(symbols, pair):
    turned = tokenizer.merge([s[::-1] for s in symbols[::-1]], tuple(s[::-1] for s in pair[::-1]))
    return [s[::-1] for s in turned[::-1]]


def _either_way(symbols, pair):
    merged = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) in (pair, pair[::-1]):
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def _by_text(symbols, pair):
    """Joins, replaces in the text, and cuts again: the boundaries of other symbols move."""
    return " ".join(symbols).replace(" ".join(pair), "".join(pair)).split(" ")


def _run_together(symbols, pair):
    """Joins all symbols without a mark between, and cuts at the pair alone."""
    joined = "".join(pair)
    return "".join(symbols).replace(joined, f" {joined} ").split()


def _overlapping(symbols, pair):
    """Looks at all neighbours of the old list: one symbol can be in two pairs."""
    merged = list(symbols)
    for i, both in enumerate(zip(symbols, symbols[1:])):
        if both == pair:
            merged[i : i + 2] = ["".join(pair), None]
    return [symbol for symbol in merged if symbol]


def _characters(symbols, pair):
    return list("".join(tokenizer.merge(symbols, pair)))


MERGE = Exercise(
    "text.merge",
    reference=tokenizer.merge,
    cases=_merge_cases,
    hints=[
        "Go through the symbols once and build a new list. Is the symbol the second half of a "
        "pair whose first half was put there just before?",
        "merged[-1] is the last one put there. If merged is not empty and "
        "(merged[-1], symbol) == pair, the two become one.",
        "In that case merged[-1] += symbol, otherwise merged.append(symbol); return merged at the "
        "end. (With a, a, a: after the first merge merged[-1] is aa, so nothing overlaps.)",
    ],
    mistakes={
        "Nothing is merged. pair is a tuple: compare it with a tuple, such as "
        "(merged[-1], symbol).": lambda symbols, pair: list(symbols),
        "Only the first occurrence is merged; go on after it.": lambda symbols, pair: _scan(
            symbols, pair, stop=True
        ),
        "Merged from right to left: where symbols repeat, that gives other pieces. Begin at the "
        "left.": _from_the_right,
        "The second half of the pair is left standing after the joined one: go on two places "
        "further.": lambda symbols, pair: _scan(symbols, pair, step=1),
        "After a pair one symbol too many is skipped: go on two places further.": (
            lambda symbols, pair: _scan(symbols, pair, step=3)
        ),
        "The pair is put together in the wrong order: the first half comes first.": (
            lambda symbols, pair: _scan(symbols, pair, joined=lambda p: [p[1] + p[0]])
        ),
        "A space stands between the two halves: join them with nothing between.": (
            lambda symbols, pair: _scan(symbols, pair, joined=lambda p: [" ".join(p)])
        ),
        "The pair goes in as a tuple; it has to become one string, pair[0] + pair[1].": (
            lambda symbols, pair: _scan(symbols, pair, joined=lambda p: [p])
        ),
        "The pair disappears; its two halves joined should stand in its place.": (
            lambda symbols, pair: _scan(symbols, pair, joined=lambda p: [])
        ),
        "The last symbol is lost where it is in no pair: is the loop one short?": (
            lambda symbols, pair: _short(symbols, pair)
        ),
        "Replacing in the joined text finds the pair across parts of longer symbols: compare whole "
        "symbols.": _by_text,
        "The order of the pair is ignored: b, a is not the pair a, b.": lambda symbols, pair: (
            _either_way(symbols, pair)
        ),
        "The order of the pair is turned round: pair[0] comes first, then pair[1].": (
            lambda symbols, pair: tokenizer.merge(symbols, pair[::-1])
        ),
        "Overlapping pairs are both merged: a symbol that has been used as a second half cannot be "
        "the first half of the next pair.": _overlapping,
        "The symbols are joined with nothing between, and the others run together: keep them "
        "apart, in the list.": _run_together,
        "Only a and b are merged, whatever the pair; it is the second argument.": (
            lambda symbols, pair: tokenizer.merge(symbols, ("a", "b"))
        ),
        "The answer is one string; a list of symbols is expected.": (
            lambda symbols, pair: "".join(tokenizer.merge(symbols, pair))
        ),
        "The symbols are joined by spaces to one string; a list of symbols is expected.": (
            lambda symbols, pair: " ".join(tokenizer.merge(symbols, pair))
        ),
        "The symbols are cut into single letters; each symbol has to stay whole.": _characters,
    },
)


def _short(symbols, pair):
    """Loses the last symbol unless it is the second half of a pair."""
    merged, i = [], 0
    while i < len(symbols) - 1:
        if (symbols[i], symbols[i + 1]) == pair:
            merged.append("".join(pair))
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def _ranks(*pairs):
    return {tuple(pair.split("+")): rank for rank, pair in enumerate(pairs)}


def _merge_all_cases():
    yield Case((list("abc"), _ranks("b+c", "a+b", "a+bc")), "the better pair is the later one")
    yield Case((list("abc"), _ranks("b+c", "a+b")), "only one of two pairs can be had")
    yield Case((list("abab"), _ranks("a+b", "ab+ab")), "the same pair twice, then the pair of both")
    yield Case((list("lowest"), _ranks("e+s", "es+t", "l+o", "lo+w", "o+w")), "a longer word")
    yield Case((["a", "b", "cde"], _ranks("a+b", "b+cde")), "the better pair is the shorter one")
    yield Case((list("abcd"), _ranks("b+c", "abc+d", "a+bc")), "a merge makes a pair of lower rank")
    yield Case((list("xyz"), _ranks("a+b")), "no pair has a rank")
    yield Case((["a</w>"], _ranks("a+b")), "there is one symbol")
    yield Case((list("aaaaa"), _ranks("a+a", "aa+aa", "aa+a")), "five times the same symbol")
    yield Case((list("cats"), _ranks("d+o", "a+t", "c+at")), "the pair of rank 0 is not there")
    yield Case((list("dcab"), _ranks("a+b", "c+ab", "d+c", "d+cab")), "a new pair beats an old one")


def _by(choose, rounds=None, join=tokenizer.merge):
    """A wrong merge_all: choose(pairs with a rank, ranks) is what is merged next."""

    def answer(symbols, ranks):
        done = 0
        while True:
            pairs = [pair for pair in zip(symbols, symbols[1:]) if pair in ranks]
            if not pairs or done == rounds:
                return symbols
            symbols, done = join(symbols, choose(pairs, ranks)), done + 1

    return answer


def _lowest(pairs, ranks):
    return min(pairs, key=ranks.get)


def _merge_one(symbols, pair):
    return _scan(symbols, pair, stop=True)


def _in_one_pass(symbols, ranks):
    for pair, _rank in sorted(ranks.items(), key=lambda item: -item[1]):
        symbols = tokenizer.merge(symbols, pair)
    return symbols


def _once_through(symbols, ranks):
    for pair in sorted(ranks, key=ranks.get):
        symbols = tokenizer.merge(symbols, pair)
    return symbols


def _stops_early(symbols, ranks):
    """Gives pairs without a rank the best one, 0."""
    while True:
        pairs = zip(symbols, symbols[1:])
        best = min(pairs, key=lambda pair: ranks.get(pair, 0), default=None)
        if best not in ranks:
            return symbols
        symbols = tokenizer.merge(symbols, best)


def _without_zero(symbols, ranks):
    """Takes rank 0 for "no rank"."""
    return tokenizer.merge_all(symbols, {pair: rank for pair, rank in ranks.items() if rank})


def _old_pairs(symbols, ranks):
    """Only looks at the pairs of the beginning."""
    old = sorted((p for p in zip(symbols, symbols[1:]) if p in ranks), key=ranks.get)
    for pair in old:
        symbols = tokenizer.merge(symbols, pair)
    return symbols


def _greedy(symbols, ranks):
    """The longest known piece from the left."""
    pieces, found = {*symbols, *map("".join, ranks)}, []
    while symbols:
        n = next(n for n in range(len(symbols), 0, -1) if "".join(symbols[:n]) in pieces)
        found.append("".join(symbols[:n]))
        symbols = symbols[n:]
    return found


def _never_stops(symbols, ranks):
    """Pairs without a rank count as the worst, but count."""
    while len(symbols) > 1:
        pairs = zip(symbols, symbols[1:])
        symbols = tokenizer.merge(symbols, min(pairs, key=lambda p: ranks.get(p, math.inf)))
    return symbols


def _keeps_two(symbols, ranks):
    """Ends as soon as two symbols are left, whether their pair has a rank or not."""
    while len(symbols) > 2:
        pairs = [pair for pair in zip(symbols, symbols[1:]) if pair in ranks]
        if not pairs:
            return symbols
        symbols = tokenizer.merge(symbols, _lowest(pairs, ranks))
    return symbols


def _keeps_one_pair(symbols, ranks):
    """Ends as soon as a single pair with a rank is left."""
    while len(pairs := [pair for pair in zip(symbols, symbols[1:]) if pair in ranks]) > 1:
        symbols = tokenizer.merge(symbols, _lowest(pairs, ranks))
    return symbols


def _counts_rounds(symbols, ranks):
    """Compares the number of rounds with the symbols that are left, which become fewer."""
    done = 0
    while done < len(symbols):
        symbols, done = _by(_lowest, rounds=1)(symbols, ranks), done + 1
    return symbols


def _whole_round(symbols, ranks):
    """All pairs of a round, best first, before there is another look."""
    while pairs := [pair for pair in zip(symbols, symbols[1:]) if pair in ranks]:
        for pair in sorted(pairs, key=ranks.get):
            symbols = tokenizer.merge(symbols, pair)
    return symbols


def _every_second(symbols, ranks):
    """Symbols 0 and 1, 2 and 3: half of the pairs."""
    while pairs := [pair for pair in zip(symbols[::2], symbols[1::2]) if pair in ranks]:
        symbols = tokenizer.merge(symbols, _lowest(pairs, ranks))
    return symbols


MERGE_ALL = Exercise(
    "text.merge_all",
    reference=tokenizer.merge_all,
    cases=_merge_all_cases,
    hints=[
        "A loop without an end: which pairs of neighbours are there now, and which of them has the "
        "lowest rank? If none has one, return.",
        "zip(symbols, symbols[1:]) gives the pairs; ranks.get(pair, math.inf) a rank for each, "
        "infinite for those that are not on the list.",
        "best = min(pairs, key=lambda pair: ranks.get(pair, math.inf), default=None); if best not "
        "in ranks: return symbols; otherwise symbols = merge(symbols, best).",
    ],
    mistakes={
        "Nothing is merged.": lambda symbols, ranks: list(symbols),
        "Only one round is done: merge again until no pair has a rank.": _by(_lowest, rounds=1),
        "The pair with the highest rank goes first; the best is the lowest, the one that was "
        "learnt first.": _by(lambda pairs, ranks: max(pairs, key=ranks.get)),
        "Pairs go from left to right, whatever their rank: take the one with the lowest.": _by(
            lambda pairs, ranks: pairs[0]
        ),
        "Pairs go from right to left, whatever their rank: take the one with the lowest.": _by(
            lambda pairs, ranks: pairs[-1]
        ),
        "The longest pair goes first; the lowest rank decides, not the length.": _by(
            lambda pairs, ranks: max(pairs, key=lambda pair: len("".join(pair)))
        ),
        "The alphabetically first pair is merged: min needs a key, the rank.": _by(
            lambda pairs, ranks: min(pairs)
        ),
        "The pair of rank 0 is never merged: 0 counts as false in Python. Ask `pair in ranks`.": (
            _without_zero
        ),
        "Only pairs of the word as it was spelt are merged: after each merge there are new pairs, "
        "look again.": _old_pairs,
        "Only the first occurrence of a pair is merged in a round: merge all of them, as `merge` "
        "does.": _by(_lowest, rounds=2, join=_merge_one),
        "The list is gone through from its last rank to its first; begin with rank 0.": (
            _in_one_pass
        ),
        "The list is gone through once, from rank 0 on. With a learnt list that gives the same, "
        "but CLIP's has almost 49,000 merges, and each word would try them all; and in other lists "
        "a merge can make a pair that stands earlier. Look among the word's own pairs, again after "
        "each merge.": _once_through,
        "The pair of rank 0 is merged and no other: the lowest is wanted among the pairs of the "
        "word, not of the whole list.": lambda symbols, ranks: tokenizer.merge(
            symbols, min(ranks, key=ranks.get)
        ),
        "Pairs without a rank are merged as well: stop when the best pair has none.": _never_stops,
        "It ends when two symbols are left; they may be a pair with a rank, too.": _keeps_two,
        "It ends while there is still a pair with a rank: go on until there is none.": (
            _keeps_one_pair
        ),
        "The number of rounds is compared with the number of symbols, which shrinks: go on until "
        "no pair has a rank.": _counts_rounds,
        "All pairs of a round are merged before the next look: merge one, then look again, for the "
        "new pairs may be better.": _whole_round,
        "Only every second pair is looked at (symbols 0 and 1, 2 and 3): symbols 1 and 2 are "
        "neighbours, too. zip(symbols, symbols[1:]) gives all.": _every_second,
        "The answer is one string; a list of symbols is expected.": lambda symbols, ranks: "".join(
            tokenizer.merge_all(symbols, ranks)
        ),
        "The symbols are joined by spaces to one string; a list of symbols is expected.": (
            lambda symbols, ranks: " ".join(tokenizer.merge_all(symbols, ranks))
        ),
        "A pair without a rank counts as rank 0 and wins, which ends the loop: count it as "
        "math.inf.": _stops_early,
        "The longest known piece is taken from the left. In training, words were put together by "
        "rank.": _greedy,
    },
)


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


def _loss_cases():
    # In three cases one input wants a gradient, so that a lost one is noticed.
    for scale, label in ((2.66, "four pairs, s = 14.3"), (0.5, "four pairs, s = 1.65")):
        text, image = torch.randn(4, 6), 3 * torch.randn(4, 6)
        image[:3] += 2 * text[:3]
        yield Case((text, image, torch.tensor(scale, requires_grad=scale < 1)), label)
    text, image = torch.randn(5, 3, requires_grad=True), 0.1 * torch.randn(5, 3)
    yield Case((text, image, torch.tensor(0.0)), "five pairs, s = 1")
    text, image = torch.randn(2, 4), torch.randn(2, 4, requires_grad=True)
    yield Case((text, image, torch.tensor(1.0)), "two pairs")
    yield Case((torch.ones(3, 4), torch.ones(3, 4), torch.tensor(2.0)), "all vectors alike")


def _loss(sides=(0.5, 0.5), scale=torch.exp, ready=None, answers=torch.arange, of="mean"):
    """A wrong contrastive loss, by the part that is wrong."""
    ready = ready or (lambda x: F.normalize(x, dim=1))

    def answer(text, image, logit_scale):
        logits = ready(text) @ ready(image).T * scale(torch.as_tensor(logit_scale))
        right = answers(len(text))
        one, two = (F.cross_entropy(side, right, reduction=of) for side in (logits, logits.T))
        return sides[0] * one + sides[1] * two

    return answer


def _one_normalised(which):
    def answer(text, image, logit_scale):
        text, image = (
            F.normalize(x, dim=1) if k == which else x for k, x in enumerate((text, image))
        )
        logits = text @ image.T * logit_scale.exp()
        right = torch.arange(len(text))
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2

    return answer


def _softmax_twice(text, image, logit_scale):
    logits = clip.similarity(text, image) * logit_scale.exp()
    right = torch.arange(len(text))
    sides = (F.cross_entropy(x.softmax(1), right) for x in (logits, logits.T))
    return sum(sides) / 2


def _yes_or_no(text, image, logit_scale):
    logits = clip.similarity(text, image) * logit_scale.exp()
    return F.binary_cross_entropy_with_logits(logits, torch.eye(len(text)))


def _distance(text, image, logit_scale):
    return (1 - F.cosine_similarity(text, image)).mean()


def _shares(share):
    """A wrong contrastive loss: share(logits [B, B]) is what each direction gives."""

    def answer(text, image, logit_scale):
        logits = clip.similarity(text, image) * logit_scale.exp()
        return (share(logits) + share(logits.T)) / 2

    return answer


def _without_the_right_one(logits):
    others = logits.masked_fill(torch.eye(len(logits)).bool(), -math.inf)
    return (others.logsumexp(1) - logits.diag()).mean()


def _by_channel(text, image, logit_scale):
    """The transpose is at the wrong place: D × D in place of B × B."""
    logits = F.normalize(text, dim=1).T @ F.normalize(image, dim=1) * logit_scale.exp()
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


CONTRASTIVE = Exercise(
    "text.contrastive_loss",
    reference=clip.contrastive_loss,
    cases=_loss_cases,
    hints=[
        "First the square of cosines, [B, B]: both sides to length 1, then a product with a "
        "transpose. Times s, which is not logit_scale itself.",
        "logits = F.normalize(text, dim=1) @ F.normalize(image, dim=1).T * logit_scale.exp(). The "
        "right answer to row i is i: torch.arange(len(text)).",
        "The rows' cross-entropy is F.cross_entropy(logits, answers); the columns' are that of "
        "logits.T. Return half of their sum.",
    ],
    mistakes={
        "Only texts look for pictures; the reverse question, on logits.T, is missing.": _loss(
            (1.0, 0.0)
        ),
        "Only pictures look for texts; the other question, on logits, is missing.": _loss(
            (0.0, 1.0)
        ),
        "The two are added; their mean is wanted.": _loss((1.0, 1.0)),
        "The second is taken off; it is added.": _loss((0.5, -0.5)),
        "The vectors are not brought to length 1: long ones win, whatever they say.": _loss(
            ready=lambda x: x
        ),
        "The lengths are brought to 1 over the batch; each vector has its own: dim=1.": _loss(
            ready=lambda x: F.normalize(x, dim=0)
        ),
        "Each batch is divided by one length for all of it; each vector has its own: "
        "F.normalize(x, dim=1).": _loss(ready=lambda x: x / x.norm()),
        "Each pair is asked about by itself, yes or no; here each row is one question with as many "
        "answers as there are pictures: F.cross_entropy.": _yes_or_no,
        "Only the texts are brought to length 1, the pictures are not.": _one_normalised(0),
        "Only the pictures are brought to length 1, the texts are not.": _one_normalised(1),
        "The scale is not used.": _loss(scale=lambda s: 1.0),
        "logit_scale is the logarithm of s: multiply by its .exp().": _loss(scale=lambda s: s),
        "The logits are divided by s; they are multiplied.": _loss(scale=lambda s: (-s).exp()),
        "That is the softmax of a softmax: cross_entropy takes the logits and does its own.": (
            _softmax_twice
        ),
        "Every row's right answer is 0 in yours; that of row i is i.": _loss(
            answers=lambda n: torch.zeros(n, dtype=torch.long)
        ),
        "The answers are in the wrong order: that of row i is i.": _loss(
            answers=lambda n: torch.arange(n).flip(0)
        ),
        "Summed over the batch; the mean is wanted.": _loss(of="sum"),
        "Every row's right answer is 1 in yours, which is the second picture; that of row i is "
        "i.": _loss(answers=lambda n: torch.ones(n, dtype=torch.long)),
        "s is fixed at 14.3; it is learnt, and comes as its logarithm, logit_scale.": _loss(
            scale=lambda s: 14.3
        ),
        "s is fixed at 1/0.07; it is learnt, and comes as its logarithm, logit_scale.": _loss(
            scale=lambda s: 1 / 0.07
        ),
        "logit_scale is divided by: it is the logarithm of s, and s multiplies.": _loss(
            scale=lambda s: 1 / s
        ),
        "The numbers are right, but no gradient reaches text or image, so nothing would be learnt: "
        "leave out .detach() and no_grad().": lambda text, image, logit_scale: (
            clip.contrastive_loss(text.detach(), image.detach(), logit_scale)
        ),
        "The numbers are right, but no gradient reaches logit_scale, so s is never learnt: "
        "math.exp, .item() and float() cut it off. Use logit_scale.exp().": _loss(
            scale=lambda s: math.exp(s.item())
        ),
        "The sign is turned: training would push the true pairs apart.": _loss((-0.5, -0.5)),
        "The right answers' share is averaged without a logarithm: cross_entropy has it.": _shares(
            lambda logits: -logits.softmax(1).diag().mean()
        ),
        "nll_loss expects the logarithm of the softmax and got the logits: F.cross_entropy does "
        "both steps.": _shares(lambda logits: -logits.diag().mean()),
        "The mean goes over all of the square; only the right answers, the diagonal, count.": (
            _shares(lambda logits: -logits.log_softmax(1).mean())
        ),
        "The right answer is missing below the line: the softmax's sum goes over all j, i "
        "included.": _shares(_without_the_right_one),
        "The transpose is on the wrong side: that gives a square of D × D, channels with channels. "
        "Texts with pictures is text @ image.T, B × B.": _by_channel,
        "The square is compared with a table of 1 and 0 by squared differences; cross_entropy asks "
        "which is the largest.": _shares(lambda logits: F.mse_loss(logits, torch.eye(len(logits)))),
        "That is the distance within the pairs. The other pictures of the batch have to come in, "
        "as wrong answers: the softmax.": lambda text, image, logit_scale: F.mse_loss(
            F.normalize(text, dim=1), F.normalize(image, dim=1)
        ),
        "That only pulls the pairs together. The others have to be pushed away: the softmax over "
        "all of the batch.": _distance,
    },
)

EXERCISES = [MERGE, MERGE_ALL, AT_END, CONTRASTIVE]
