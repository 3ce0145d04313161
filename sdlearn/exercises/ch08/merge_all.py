"""Chapter 08: the exercise `text.merge_all`."""

import math

from sdlearn import tokenizer
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch08.common import scan


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
    ranks = dict(reversed(_ranks("b+c", "a+b", "a+bc").items()))
    yield Case((list("abc"), ranks), "ranks stand in another order in the dict")
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
    return scan(symbols, pair, stop=True)


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


def _by_place(symbols, ranks):
    """Takes the place in the dict for the rank."""
    return tokenizer.merge_all(symbols, {pair: rank for rank, pair in enumerate(ranks)})


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
    advice={
        "KeyError|^\\(": "A pair that was not learnt has no rank: ranks.get(pair, math.inf).",
        "empty sequence|iterable argument is empty": "A word of one symbol has no pairs: min(…, "
        "default=None).",
    },
    mistakes={
        "Pairs are taken in the dict's order, which need not be that of the ranks: the next one is "
        "the word's own pair of lowest ranks[pair], looked up again after each merge.": (_by_place),
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
