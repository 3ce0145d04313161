"""What an exercise is made of, and the banks: the exercises, found by their folders' names."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

import sdlearn.exercises

from .compare import close, mismatch


@dataclass(frozen=True)
class Case:
    """One call to check: the arguments, and a label that completes "right in the case …"."""

    args: tuple
    label: str = ""


def learnt(x):
    """An input that wants a gradient: the answer must not be cut off from it."""
    return x.requires_grad_() * 1  # no leaf: torch would refuse a change in place before we see it


def slopes(value, sources):
    """The gradients of an answer's sum in one row, 0 where none arrives; no tensor stays."""
    if not isinstance(value, torch.Tensor):
        return value
    found = [None] * len(sources)
    if value.requires_grad:
        found = torch.autograd.grad(value.sum(), sources, allow_unused=True)
    pairs = zip(found, sources)
    return torch.cat([(torch.zeros_like(s) if g is None else g).flatten() for g, s in pairs])


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    name: "topic.function". reference: the package's own function or class. cases: called for every
    run, gives Cases with fresh arguments, torch.Generators included (random numbers are seeded).
    hints: weakest first. mistakes: what to tell the student → an answer that makes that mistake.
    returns: names of the values when the answer is a tuple.
    atol, rtol: what passes as rounding. seconds: limit for one call; total: for the whole check.
    run: how to call an answer, run(answer, *args); for classes and the like.
    refuses: the exception that the reference raises for what it does not take, if any.
    changes: names of arguments that the answer may change in place.
    advice: what an exception in an answer says (a regular expression) → what to do about it.
    """

    name: str
    reference: Callable
    cases: Callable
    hints: list
    mistakes: dict
    returns: tuple = ()
    atol: float = 1e-5
    rtol: float = 1e-4
    seconds: float = 5.0
    total: float = 20.0
    run: Callable | None = None
    refuses: type | tuple = ()
    changes: tuple = ()
    advice: dict = field(default_factory=dict)

    def equal(self, expected, got):
        """True if an answer is what is expected: the same kind, shape, dtype, and numbers."""
        wrong = mismatch(expected, got)
        return wrong is None and close(expected, got, self.rtol, self.atol)


def banks():
    """The chapters' exercises as they are found, one (chapter number, list) after the other."""
    for module in sorted(m.name for m in pkgutil.iter_modules(sdlearn.exercises.__path__)):
        if module[:2] == "ch" and module[2:].isdecimal():
            bank = importlib.import_module(f"sdlearn.exercises.{module}")
            yield int(module[2:]), bank.EXERCISES


def find(name):
    """The Exercise of that name. Raises ValueError that lists the nearest names."""
    names = []
    for _, bank in banks():
        for one in bank:
            if one.name == name:
                return one
            names.append(one.name)
    near = difflib.get_close_matches(str(name), names, 3, 0.4) or names
    raise ValueError(f"no exercise is called {name!r}. There is: {', '.join(near) or 'none yet'}")


def names(chapter=None):
    """Chapter number → names of its exercises."""
    found = {number: [one.name for one in bank] for number, bank in banks()}
    if chapter is not None and chapter not in found:
        raise ValueError(f"chapter {chapter!r} has no exercises. There is: {[*found]}")
    return found if chapter is None else {chapter: found[chapter]}
