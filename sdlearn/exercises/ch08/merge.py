"""Chapter 08: the exercise `text.merge`."""

from sdlearn import tokenizer
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch08.common import scan


def _merge_cases():
    yield Case((list("abcab"), ("a", "b")), "the pair occurs twice")
    yield Case((list("xyxyz"), ("y", "x")), "the pair occurs once, and turned round as well")
    yield Case((["a"] * 5, ("a", "a")), "five times the same symbol")
    yield Case((["s", "it", "t", "ing</w>"], ("it", "t")), "symbols of several letters")
    yield Case((["ab", "a", "b", "abc", "c"], ("ab", "c")), "joined symbols that look alike")
    yield Case((["c", "a", "t</w>"], ("a", "t")), "the pair does not occur")
    yield Case((["a</w>"], ("a</w>", "a</w>")), "there is one symbol")
    yield Case((["b", "a", "b"], ("b", "a")), "a symbol is left over at the end")
    yield Case((["ab", "c", "a", "bc"], ("a", "bc")), "other symbols spell the same")


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


def _spelt(symbols, pair):
    merged, i = [], 0
    while i < len(symbols):
        alike = "".join(symbols[i : i + 2]) == "".join(pair) and i + 1 < len(symbols)
        merged.append("".join(symbols[i : i + 1 + alike]))
        i += 1 + alike
    return merged


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
        "Only the first occurrence is merged; go on after it.": lambda symbols, pair: scan(
            symbols, pair, stop=True
        ),
        "Merged from right to left: where symbols repeat, that gives other pieces. Begin at the "
        "left.": _from_the_right,
        "The second half of the pair is left standing after the joined one: go on two places "
        "further.": lambda symbols, pair: scan(symbols, pair, step=1),
        "After a pair one symbol too many is skipped: go on two places further.": (
            lambda symbols, pair: scan(symbols, pair, step=3)
        ),
        "The pair is put together in the wrong order: the first half comes first.": (
            lambda symbols, pair: scan(symbols, pair, joined=lambda p: [p[1] + p[0]])
        ),
        "A space stands between the two halves: join them with nothing between.": (
            lambda symbols, pair: scan(symbols, pair, joined=lambda p: [" ".join(p)])
        ),
        "The pair goes in as a tuple; it has to become one string, pair[0] + pair[1].": (
            lambda symbols, pair: scan(symbols, pair, joined=lambda p: [p])
        ),
        "The pair disappears; its two halves joined should stand in its place.": (
            lambda symbols, pair: scan(symbols, pair, joined=lambda p: [])
        ),
        "The last symbol is lost where it is in no pair: is the loop one short?": (
            lambda symbols, pair: _short(symbols, pair)
        ),
        "Replacing in the joined text finds the pair across parts of longer symbols: compare whole "
        "symbols.": _by_text,
        "Texts are compared, the two joined: ab and c spell the same as a and bc. Compare both "
        "symbols with the pair.": _spelt,
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
    advice={
        "list index out of range": "The last symbol has none after it, and a list in which two "
        "become one grows shorter while range(len(symbols)) keeps its old end. Build a new list.",
        "pop from empty list": "Nothing is left to take: build a new list in place of emptying "
        "symbols.",
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
