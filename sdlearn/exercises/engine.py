"""The exercise engine: `@exercise` checks an answer, says what is wrong (every chapter uses it).

`board` says what is kept of the results and where; the package's docstring, how to write a bank.
"""

import ast
import inspect
import os
import textwrap

from . import board
from .bank import Case as Case
from .bank import Exercise as Exercise
from .bank import Mistake as Mistake
from .bank import find, names
from .compare import mismatch
from .diagnose import explain
from .trial import Trial, Trouble, kept_random


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
            raise TypeError(
                f'@exercise("{name}") stands above {type(answer).__name__} {answer!r:.40}; '
                "it belongs directly above the def or class of your answer"
            )
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
    if status == "right":
        return f"✓ {name}: right. Your own version is used below."
    if status == "untouched":
        return (
            f"{name}: not done yet, the course's own version is used below. hint('{name}') helps."
        )
    return (
        f"✗ {name}: not right yet.\n{textwrap.indent(message, '  ')}\n"
        f"  The course's own version is used below until yours is right. hint('{name}') helps."
    )


def check(exercise, answer):
    """Run an answer through all cases; returns its status, the diagnosis, and what it printed."""
    with kept_random():
        written = _written(answer)
        wrong = _signature_trouble(exercise, answer)
        trial = Trial(exercise, answer)
        gots = []
        try:
            if wrong:
                raise Trouble(wrong)
            for i in range(len(trial.labels)):
                gots.append(trial.call(answer, i))
        except Trouble as trouble:
            half = written == "some" and (wrong or "ellipsis" in str(trouble))
            if half or written == "nothing":
                return "untouched", "", ""
            return "wrong", f"{trouble}{_in_case(trial, len(gots))}", _first_lines(trial)
        if all(got is ... or (written != "all" and _blank(got)) for got in gots):
            return "untouched", "", ""
        refs = [trial.call(exercise.reference, i) for i in range(len(gots))]
        message = _diagnosis(trial, refs, gots)
        return "wrong" if message else "right", message, _first_lines(trial)


def _in_case(trial, i):
    """Names the case, unless it is the first: then it need not be the case that matters."""
    return f'\nThis is in the case "{trial.labels[i]}".' if i else ""


def _diagnosis(trial, refs, gots):
    """What to tell about the answers `gots`; empty if they are right."""
    exercise = trial.exercise
    right = all(map(exercise.equal, refs, gots))
    mistake = None if right else known_mistake(trial, refs, gots)
    said = [mistake.sentence] if mistake else []
    if trial.damaged:
        said.append(
            f"Your code changes its input {', '.join(trial.damaged)}, which the caller still "
            "needs. Operators such as *= and +=, methods such as add_() and writing into x[...] "
            "do that: compute a new tensor instead."
        )
    if said or right:
        return "\n".join(said)
    for i, (expected, got) in enumerate(zip(refs, gots)):
        wrong = mismatch(expected, got, parts=exercise.returns)
        if wrong:
            return wrong + _in_case(trial, i)
    return explain(trial, refs, gots)


def known_mistake(trial, refs, gots):
    """The known mistake that an answer makes: everywhere, or at least where it makes a difference.

    So of two mistakes, in different cases or in different values of a tuple, one is found.
    """
    exercise = trial.exercise
    count = max(1, len(exercise.returns))

    def parts(values):
        for value in values:
            whole = isinstance(value, (tuple, list)) and len(value) == count > 1
            yield from value if whole else [value] * count

    partly = None
    for mistake in exercise.mistakes:
        try:
            values = [trial.call(mistake.answer, i) for i in range(len(refs))]
        except Exception:  # an answer that comes this far did not raise
            continue
        if all(map(exercise.equal, values, gots)):
            return mistake
        agrees = map(exercise.equal, parts(values), parts(gots))
        matters = [not exercise.equal(r, v) for r, v in zip(parts(refs), parts(values))]
        if any(matters) and all(a for a, m in zip(agrees, matters) if m):
            partly = partly or mistake
    return partly


def _first_lines(trial, most=5):
    lines = trial.printed.text.splitlines()
    return "\n".join(lines[:most] + ["(and more)"] * (len(lines) > most))


def _blank(value):
    """True for what an unwritten answer returns."""
    if isinstance(value, tuple) and value:
        return all(map(_blank, value))
    return value is None or value is ...


def _written(answer):
    """How much of an answer is there: "nothing", "some" (a `...` is left), "all" or "unknown"."""
    if inspect.isclass(answer) and not any(map(inspect.isfunction, vars(answer).values())):
        return "nothing"
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
        body = tree.body[0].body
    except (OSError, TypeError, SyntaxError, AttributeError, IndexError):
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


def _signature_trouble(exercise, answer):
    """What is wrong with the parameters of an answer, or None."""
    try:
        mine = inspect.signature(answer).parameters
        course = inspect.signature(exercise.reference).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in (*mine.values(), *course.values())):
        return None
    needed = [name for name, p in course.items() if p.default is p.empty]
    if exercise.run is None:
        needed = list(course)[: max(len(case.args) for case in exercise.cases())]
    missing = [name for name in needed if name not in mine]
    allowed = course if exercise.run else needed
    extra = [n for n, p in mine.items() if p.default is p.empty and n not in allowed]
    moved = exercise.run is None and list(mine)[: len(needed)] != needed
    if not (missing or extra or moved):
        return None
    said = [f"{', '.join(missing)} missing"] * bool(missing)
    said += [f"{', '.join(extra)} not expected"] * bool(extra)
    return (
        f"The parameters are ({', '.join(mine)}); ({', '.join(needed)}) are expected: "
        f"{'; '.join(said) or 'the order differs'}. Keep the first line as it was given."
    )


_hints_given = {}  # name → how many in this run of the kernel


def hint(name=None):
    """Print the next, stronger hint for an exercise; without a name, list the exercises."""
    if name is None:
        return _list_names("hint")
    hints = find(name).hints
    given = _hints_given.get(name, 0)
    if given == len(hints):
        _hints_given[name] = 0
        return board.say(
            f"{name}: those were all {len(hints)} hints. solution('{name}') shows the course's own "
            f"version; hint('{name}') begins again."
        )
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
    board.show(
        {
            "text/markdown": f"`{home}`:\n\n```python\n{source}\n```",
            "text/plain": f"{home}:\n\n{source}",
        }
    )


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
