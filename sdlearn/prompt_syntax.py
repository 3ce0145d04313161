"""Prompts as the AUTOMATIC1111 web UI reads them (chapter 12): weights, schedules, AND, BREAK.

    (a)  ((a))  (a:1.3)  [a]      a counts 1.1, 1.21, 1.3 times, or 1/1.1 of its usual
    [a:b:8]  [a:b:0.4]            a up to step 8, or up to four tenths of the steps; then b
    [b:8]  [a::8]                 nothing, then b; a, then nothing
    [a|b]                         a and b in turns, step by step
    a AND b :0.5                  two prompts, added up, the second by half
    a BREAK b                     b begins a new chunk of 75 tokens
    \\( \\) \\[ \\] \\\\               the signs themselves

Nothing here is an error: what makes no sense as syntax is text, and drawn as it stands.
"""

import re
from collections import namedtuple
from functools import cache

Schedule = namedtuple("Schedule", ["before", "after", "when"])
Turns = namedtuple("Turns", ["options"])

MORE = 1.1  # what a bracket is worth
PIECE = re.compile(r"\\[()\[\]\\]|[()\[\]]|:\s*[+-]?[\d.]+\s*\)|[^\\()\[\]:]+|[:\\]")
WEIGHT = re.compile(r":\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+", re.DOTALL)
WHEN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\]")
PART = re.compile(r"(.*?)(?:\s*:\s*([+-]?(?:\d+\.?\d*|\.\d+)))?\s*", re.DOTALL)


# --- weights --------------------------------------------------------------------------------------


def weighted(text):
    """Text to its pieces (text, weight), in a list for each part between BREAKs.

    A bracket that is never closed holds to the end; one that was never opened is text.
    """
    pieces, opened = [], {"(": [], "[": []}  # opened: numbers of the pieces that stand after them
    for piece in PIECE.findall(text):
        weight = WEIGHT.fullmatch(piece)
        if piece in opened:
            opened[piece].append(len(pieces))
        elif (weight or piece == ")") and opened["("]:
            multiply(pieces, opened["("].pop(), float(weight[1]) if weight else MORE)
        elif piece == "]" and opened["["]:
            multiply(pieces, opened["["].pop(), 1 / MORE)
        elif piece[0] == "\\":  # one before anything else is left out
            pieces.append([piece[1:], 1.0])
        else:
            for number, part in enumerate(BREAK.split(piece)):
                pieces += [[None, 1.0]] * (number > 0) + [[part, 1.0]]
    for bracket, factor in (("(", MORE), ("[", 1 / MORE)):
        for start in opened[bracket]:
            multiply(pieces, start, factor)
    parts = [[]]
    for piece, weight in pieces:
        if piece is None:
            parts.append([])
        elif parts[-1] and parts[-1][-1][1] == weight:
            parts[-1][-1] = parts[-1][-1][0] + piece, weight
        elif piece:
            parts[-1].append((piece, weight))
    return parts


def multiply(pieces, start, factor):
    for piece in pieces[start:]:
        piece[1] *= factor


# --- schedules ------------------------------------------------------------------------------------


def at_step(text, step, steps):
    """The prompt of step 1 … steps: schedules decided, weights and the rest left as they are."""
    return spoken(parse(text), step, steps)


def schedule(text, steps):
    """The prompts of all steps, as a list of (last step, prompt)."""
    found = []
    for step in range(1, steps + 1):
        prompt = at_step(text, step, steps)
        if found and found[-1][1] == prompt:
            found.pop()
        found.append((step, prompt))
    return found


def spoken(nodes, step, steps):
    """Text of what `parse` has found."""
    text = ""
    for node in nodes:
        if isinstance(node, str):
            text += node
        elif isinstance(node, Turns):
            text += spoken(node.options[(step - 1) % len(node.options)], step, steps)
        else:
            fraction = "." in node.when
            last = int(float(node.when) * steps) if fraction else int(node.when)
            text += spoken(node.before if step <= min(last, steps) else node.after, step, steps)
    return text


@cache
def parse(text):
    """Text as a tuple of strings, `Schedule`s and `Turns`; of itself alone, if it is no prompt."""
    reader, nodes, i = Reader(text), [], 0
    while i < len(text):
        try:
            found, i = reader.prompt(i)
        except RecursionError:  # hundreds of brackets, one in the other
            return (text,)
        nodes += found
        if i == len(text):
            break
        if text[i] not in "[]():":  # a | outside of brackets, or a last \
            return (text,)
        nodes.append(text[i])  # a bracket without its other half, or a colon
        i += 1
    return tuple(nodes)


class Reader:
    """Reads parts of a text from place i on: each method gives what it found, and where it ends."""

    def __init__(self, text):
        self.text = text
        self.known = {}  # so that brackets without end do not take time without end

    def at(self, i, sign):
        return self.text.startswith(sign, i)

    def prompt(self, i):
        """As much as makes sense: plain text and whole brackets."""
        nodes = []
        while True:
            if plain := PLAIN.match(self.text, i):
                nodes.append(plain[0])
                i = plain.end()
            elif found := self.bracket(i):
                nodes += found[0]
                i = found[1]
            else:
                return nodes, i

    def bracket(self, i):
        """A whole bracket, or None."""
        if i not in self.known:
            self.known[i] = None  # meanwhile
            if self.at(i, "("):
                self.known[i] = self.round(i)
            elif self.at(i, "["):
                self.known[i] = self.square(i)
        return self.known[i]

    def round(self, i):
        """( prompt ) or ( prompt : prompt ): text, but for what is inside."""
        first, j = self.prompt(i + 1)
        if self.at(j, ":"):
            second, k = self.prompt(j + 1)
            first, j = [*first, ":", *second], k
        return (["(", *first, ")"], j + 1) if self.at(j, ")") else None

    def square(self, i):
        """[ … ] as a schedule, turns, or emphasis."""
        first, j = self.prompt(i + 1)
        options = [first]
        if self.at(j, "]"):
            return ["[", *first, "]"], j + 1
        while self.at(j, "|"):
            option, j = self.prompt(j + 1)
            options.append(option)
        if len(options) > 1:
            return ([Turns(options)], j + 1) if self.at(j, "]") else None
        if not self.at(j, ":"):
            return None
        if when := WHEN.match(self.text, j + 1):
            return [Schedule([], first, when[1])], when.end()
        second, j = self.prompt(j + 1)
        when = WHEN.match(self.text, j + 1) if self.at(j, ":") else None
        return ([Schedule(first, second, when[1])], when.end()) if when else None


# --- several prompts ------------------------------------------------------------------------------


def composed(text):
    """The prompts that are joined by AND, each with its weight: a list of (prompt, weight)."""
    found = []
    for part in re.split(r"\bAND\b", text):
        prompt, weight = PART.fullmatch(part).groups()
        found.append((prompt, 1.0 if weight is None else float(weight)))
    return found
