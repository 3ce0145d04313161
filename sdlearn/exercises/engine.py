"""The exercise engine: `@exercise` checks an answer, says what is wrong (every chapter uses it).

`board` says what is kept of the results and where; the package's docstring, how to write a bank.
"""

import ast
import functools
import inspect
import os
import sys
import textwrap

import torch

from . import board
from .bank import find, names
from .compare import Refused, mismatch
from .diagnose import explain
from .trial import Trial, Trouble, kept_random

DAMAGE = "which the caller still needs (*=, add_() and x[...] = do that): compute a new tensor."
UNEXPLAINED = "Your answer is not the one that is expected."
DAMAGED_LIST = "which the caller still needs (+=, *= and append() do that): make a new list."


class ExerciseError(AssertionError):
    """An exercise that is not right, under SDLEARN_STRICT=1."""


def exercise(name):
    """Decorator that checks the function or class below it as the exercise `name`.

    Prints one line or a diagnosis. Gives the student's own object if it is right, the course's
    otherwise. Raises ValueError for an unknown name, TypeError without one or on no function, and
    ExerciseError for anything but a right answer if SDLEARN_STRICT is 1.
    """
    if not isinstance(name, str):
        raise TypeError('@exercise needs the name of an exercise: @exercise("forward.q_sample")')
    found = find(name)

    def decorate(answer):
        if not callable(answer):
            above = f"{type(answer).__name__} {answer!r:.40}; it belongs directly above"
            raise TypeError(f'@exercise("{name}") stands above {above} your def or class')
        status, message, printed = check(found, answer)
        before = board.load().get(name, board.EMPTY)
        news = status == "wrong" or (status == "right" and before["status"] != "right")
        board.save(name, status=status, message=message, attempts=before["attempts"] + news)
        text = _verdict(name, status, message)
        if status != "right" and os.environ.get("SDLEARN_STRICT", "") == "1":
            raise ExerciseError(text)
        board.say(text)
        if printed:
            board.say("Your code printed:\n" + textwrap.indent(printed, "  "))
        return answer if status == "right" else found.reference

    return decorate


def _verdict(name, status, message):
    help = f"hint('{name}') helps."
    if status == "right":
        return f"✓ {name}: right. Your own version is used below."
    if status == "untouched":
        return f"{name}: not done yet, the course's own version is used below. {help}"
    last = f"  The course's own version is used below until yours is right. {help}"
    return f"✗ {name}: not right yet.\n{textwrap.indent(message, '  ')}\n{last}"


def check(exercise, answer):
    """Run an answer through all cases; returns its status, the diagnosis, and what it printed."""
    with kept_random():
        written, wrong = _written(answer), _signature_trouble(exercise, answer)
        trial, gots, trouble = Trial(exercise, answer), [], Trouble(wrong) if wrong else None
        try:
            while not trouble and len(gots) < len(trial.labels):
                gots.append(trial.call(answer, len(gots)))
        except Trouble as error:
            trouble = error
        blank = all(got is ... or (written != "all" and _blank(got)) for got in gots)
        if trouble:
            half = written == "some" and (wrong or "ellipsis" in trouble.args[0])
            blank = half or written == "nothing"
        if blank:
            return "untouched", "", ""
        refs = [trial.call(exercise.reference, i) for i in range(len(gots))]
        if trouble:  # answers of a wrong kind before it may explain it
            early, order = _mismatch(trial, refs, gots), not wrong and _misordered(trial)
            if not early and not all(map(exercise.equal, refs, gots)):
                early = known_mistake(trial, refs, gots)
            said = trouble.args[0], order or "".join(trouble.args[1:]), _in_case(trial, len(gots))
            message = _lines(order, early) if early else _lines(*said)
        else:
            message = _diagnosis(trial, refs, gots)
        printed = trial.printed.text.splitlines()
        printed = "\n".join(printed[:5] + ["(and more)"] * (len(printed) > 5))
        return "wrong" if message else "right", message, printed


def _lines(*said):
    return "\n".join(filter(None, said))


def _in_case(trial, i):
    """Names the case, unless it is the first: then it need not be the case that matters."""
    return f'This is in the case "{trial.labels[i]}".' if i else ""


def _diagnosis(trial, refs, gots):
    """What to tell about the answers `gots`; empty if they are right."""
    right = all(map(trial.exercise.equal, refs, gots))
    said = None if right else known_mistake(trial, refs, gots)
    more = DAMAGED_LIST if all(trial.damaged.values()) else DAMAGE
    damage = trial.damaged and f"Your code changes its input {', '.join(trial.damaged)}, {more}"
    if not (said or damage or right):
        try:
            said = _mismatch(trial, refs, gots) or explain(trial, refs, gots)
        except Exception:  # a diagnosis that fails must not cost the verdict
            said = UNEXPLAINED
    return _lines(not right and _misordered(trial), said, damage)


def _mismatch(trial, refs, gots):
    """What is wrong with the order, kinds and shapes of answers, or None."""
    equal, parts = trial.exercise.equal, trial.exercise.returns
    pairs = [(ref, got) for ref, got in zip(refs, gots) if parts and isinstance(got, (tuple, list))]
    turned = len(pairs) == len(refs) > 0 and not all(equal(ref, ref[::-1]) for ref, _ in pairs)
    if turned and all(equal(ref, tuple(got)[::-1]) for ref, got in pairs):
        return f"The values are in the wrong order: return {', '.join(parts)}."
    for i, (expected, got) in enumerate(zip(refs, gots)):
        if mismatch(expected, got):
            inputs = [a for a in trial.inputs(i) if isinstance(a, torch.Tensor) and a.dim() == 1]
            wrong = mismatch(expected, got, parts=parts, batches=[len(a) for a in inputs])
            return _lines(wrong, _in_case(trial, i))
    return None


def _misordered(trial):
    """A sentence about a call whose arguments bear the names of other parameters, or None."""
    home = str(getattr(trial.answer, "__module__", None))
    known = {**vars(sys.modules.get(home, ast)), **dict(zip(trial.names, trial.inputs(0)))}
    for call in filter(lambda node: isinstance(node, ast.Call), ast.walk(_tree(trial.answer))):
        first, *path = ast.unparse(call.func).split(".")
        function = functools.reduce(lambda one, n: getattr(one, n, None), path, known.get(first))
        function = function if inspect.isclass(function) else getattr(function, "forward", function)
        if not str(getattr(function, "__module__", None)).startswith((home, "sdlearn.")):
            continue  # names of parameters mean nothing elsewhere
        names = list(_parameters(function) or ())
        given = [*zip(names, call.args), *((word.arg, word.value) for word in call.keywords)]
        given = {name: getattr(value, "id", None) for name, value in given}
        if any(one in names and given.get(one) != one for one in given.values()):
            takes = f"{[first, *path][-1]} takes ({', '.join(names)})"
            return f"{ast.unparse(call)}: the arguments may be in the wrong order. {takes}."
    return None


def known_mistake(trial, refs, gots):
    """What to tell about the known mistake that an answer makes, or None.

    It makes it everywhere, or at least where the mistake makes a difference. So of two mistakes, in
    different cases or in different values of a tuple, one is found.
    """
    exercise, partly = trial.exercise, None
    count = len(exercise.returns)

    def same(a, b):  # a float may be expected where an int comes, but not the other way round
        return exercise.equal(a, b) and exercise.equal(b, a)

    def parts(*values):
        many = all(isinstance(v, (tuple, list)) and len(v) == count > 1 for v in values)
        return zip(*values) if many else [values]

    for sentence, mistaken in exercise.mistakes.items():
        try:
            values = [trial.call(mistaken, i) for i in range(len(refs))]
        except Exception:  # an answer that comes this far did not raise
            continue
        if all(map(same, values, gots)):
            return sentence
        triples = [triple for case in zip(refs, values, gots) for triple in parts(*case)]
        agrees = [same(v, g) for r, v, g in triples if not exercise.equal(r, v)]
        if any(isinstance(g, Refused) > isinstance(v, Refused) for v, g in zip(values, gots)):
            continue  # it refuses more than the mistake does
        partly = partly or (sentence if agrees and all(agrees) else None)
    return partly


def _blank(value):
    """True for what an unwritten answer returns."""
    return all(one is None or one is ... for one in (value if type(value) is tuple else [value]))


def _tree(answer):
    """An answer's source, parsed; empty if there is none to be had."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(answer)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _written(answer):
    """How much of an answer is there: "nothing", "some" (a `...` is left), "all" or "unknown"."""
    if inspect.isclass(answer) and not any(map(inspect.isfunction, vars(answer).values())):
        return "nothing"
    tree = _tree(answer)
    body = getattr([*tree.body, None][0], "body", None)
    if not isinstance(body, list):
        return "unknown"
    empty = ast.Pass, ast.Expr, ast.Return  # with no value or a constant: docstring, `...`, None
    if all(
        isinstance(line, empty) and isinstance(getattr(line, "value", None), ast.Constant | None)
        for line in body
    ):
        return "nothing"
    indices = [n for s in ast.walk(tree) if isinstance(s, ast.Subscript) for n in ast.walk(s.slice)]
    dots = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value is ...]
    return "all" if all(any(dot is n for n in indices) for dot in dots) else "some"


def _parameters(function):
    """The parameters of a function by name, or None if there is no telling."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _signature_trouble(exercise, answer):
    """What is wrong with the parameters of an answer, or None."""
    mine, course = _parameters(answer), _parameters(exercise.reference)
    if None in (mine, course):
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in (*mine.values(), *course.values())):
        return None
    needed = [name for name, p in course.items() if p.default is p.empty]
    if exercise.run is None:
        needed = list(course)[: max(len(case.args) for case in exercise.cases())]
    required = {name for name, p in mine.items() if p.default is p.empty}
    if exercise.run:
        ordered = [n for n in mine if n in course] == [n for n in course if n in mine]
        fits = required <= set(course) and set(needed) <= set(mine) and ordered
    else:
        fits = required <= set(needed) and [*mine][: len(needed)] == needed
    named = [name for name in course if name in needed or name in mine]  # optional ones may stay
    both = f"({', '.join(mine)}); ({', '.join(named)}) are expected"
    return None if fits else f"The parameters are {both}. Keep the first line as it was given."


_hints_given = {}  # name → how many in this run of the kernel


def hint(name=None):
    """Print the next, stronger hint for an exercise; without a name, list the exercises."""
    if name is None:
        return _list_names("hint")
    hints, given = find(name).hints, _hints_given.get(name, 0)
    if given == len(hints):
        _hints_given[name] = 0
        more = f"solution('{name}') shows the course's own version; hint('{name}') begins again."
        return board.say(f"{name}: those were all {len(hints)} hints. {more}")
    _hints_given[name] = given + 1
    board.save(name, hints=max(given + 1, board.load().get(name, board.EMPTY)["hints"]))
    board.say(f"Hint {given + 1} of {len(hints)}: {hints[given]}")


def solution(name=None):
    """Show the source of the course's own version; without a name, list the exercises."""
    if name is None:
        return _list_names("solution")
    reference = find(name).reference
    source = textwrap.dedent(inspect.getsource(reference)).rstrip()
    home = f"{reference.__module__}.{reference.__qualname__}"
    page = f"`{home}`:\n\n```python\n{source}\n```"
    board.show({"text/markdown": page, "text/plain": f"{home}:\n\n{source}"})


def _list_names(command):
    lines = [f"  chapter {number:02}: {', '.join(some)}" for number, some in names().items()]
    board.say("\n".join([f"{command}('name') takes one of these names:", *lines]))


def progress(chapter=None):
    """Show what is done: of one chapter (a number) or of all. It follows along as you go on."""
    board.show_table(names(chapter))


def results():
    """Name → record (status, message, attempts, hints; see `board`) of every exercise."""
    records = board.load()
    known = [name for some in names().values() for name in some]
    return {name: {**board.EMPTY, **records.get(name, {})} for name in known}
