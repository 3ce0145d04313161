"""Chapter 05: the exercise `samplers.timesteps`."""

import numpy as np
import torch

from sdlearn import samplers
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.schedule import NoiseSchedule


def _timestep_cases():
    plan = NoiseSchedule.linear
    # No halves but in strides that floats hold exactly: any way of counting gives the same.
    yield Case((plan(1000), 10, "leading"), "leading, 10 of 1000")
    yield Case((plan(1000), 30, "leading"), "leading, 30 of 1000, which do not divide it")
    yield Case((plan(1000), 10, "trailing"), "trailing, 10 of 1000")
    yield Case((plan(1000), 16, "trailing"), "trailing, 16 of 1000: strides of 62.5")
    yield Case((plan(1001), 10, "linspace"), "linspace, 10 of 1001")
    yield Case((plan(1001), 30, "linspace"), "linspace, 30 of 1001")
    yield Case((plan(100), 5, "leading", 0), "leading, 5 of 100, with offset 0")
    yield Case((plan(100), 7, "trailing", 3), "trailing, 7 of 100, with an offset of 3")
    yield Case((plan(100), 8, "linspace", 3), "linspace, 8 of 100, with an offset of 3")


def _run_timesteps(answer, schedule, steps, spacing, *offset):
    value = answer(schedule, steps, spacing, *offset)
    if isinstance(value, np.ndarray):
        raise TypeError("it returns a NumPy array t; torch.from_numpy(t.copy()).long() is a tensor")
    return value


def _visits(leading=None, trailing=None, linspace=None, after=None):
    """A wrong timesteps: functions of T, steps and offset that give numpy arrays, falling."""

    def answer(schedule, steps, spacing="leading", offset=1):
        T = len(schedule)
        t = samplers.timesteps(T, steps, spacing, offset).numpy()
        wrong = {"leading": leading, "trailing": trailing, "linspace": linspace}[spacing]
        t = wrong(T, steps, offset) if wrong else t
        t = after(t, offset, spacing) if after else t
        return torch.from_numpy(np.array(t).astype(np.int64))

    return answer


def _rising(which):
    """One spacing alone turned round: trailing comes out falling, the others do not."""
    return _visits(after=lambda t, offset, spacing: t[::-1] if spacing == which else t)


def _leading_only(schedule, steps, spacing="leading", offset=1):
    return samplers.timesteps(schedule, steps, "leading", offset)


def _exchanged(schedule, steps, spacing="leading", offset=1):
    other = {"leading": "trailing", "trailing": "leading"}.get(spacing, spacing)
    return samplers.timesteps(schedule, steps, other, offset)


TIMESTEPS = Exercise(
    "samplers.timesteps",
    reference=samplers.timesteps,
    cases=_timestep_cases,
    run=_run_timesteps,
    hints=[
        "leading: torch.arange(steps) times the whole stride T // steps, plus the offset, then "
        "turned round with .flip(0).",
        "trailing: from T down in strides of T / steps, which may be broken: "
        "T - torch.arange(steps) * T / steps; round, then take 1 off.",
        "linspace: torch.linspace(0, T - 1, steps), rounded, turned round. All three end with "
        ".long().",
    ],
    mistakes={
        "They are in rising order. The way goes down from noise: the highest timestep comes "
        "first, .flip(0).": _visits(after=lambda t, offset, spacing: t[::-1]),
        "leading: they rise. The highest timestep comes first: .flip(0).": _rising("leading"),
        "trailing: they rise. Counted down from T they fall by themselves.": _rising("trailing"),
        "linspace: they rise. The highest timestep comes first: .flip(0).": _rising("linspace"),
        "leading: the offset is not added.": _visits(
            leading=lambda T, n, o: np.arange(n)[::-1] * (T // n)
        ),
        "leading: the offset is taken off; it is added.": _visits(
            leading=lambda T, n, o: np.arange(n)[::-1] * (T // n) - o
        ),
        "leading: the stride is broken, T / steps, and rounded at the end. Here it is whole: "
        "T // steps.": _visits(leading=lambda T, n, o: (np.arange(n)[::-1] * (T / n)).round() + o),
        "leading: the offset is always 1 in yours: use `offset`.": _visits(
            leading=lambda T, n, o: np.arange(n)[::-1] * (T // n) + 1
        ),
        "leading: it runs on to T, and may give more than asked for: only the first `steps`, "
        "torch.arange(steps) times the stride.": _visits(
            leading=lambda T, n, o: np.arange(o, T, T // n)[::-1]
        ),
        "leading: it is counted from the first stride on. The lowest timestep is the offset "
        "itself: count from 0, torch.arange(steps).": _visits(
            leading=lambda T, n, o: np.arange(n, 0, -1) * (T // n) + o
        ),
        "leading: it is counted down from T minus the offset. Count up from the offset, then turn "
        "it round.": _visits(leading=lambda T, n, o: T - o - np.arange(n) * (T // n)),
        "leading: it is counted down from T - 1. Count up from the offset, then turn it "
        "round.": _visits(leading=lambda T, n, o: T - 1 - np.arange(n) * (T // n)),
        "trailing: it begins at T, but the last timestep is T - 1: take 1 off.": _visits(
            trailing=lambda T, n, o: np.arange(T, 0, -T / n)[:n].round()
        ),
        "trailing: the stride is whole, T // steps. Here it is T / steps, so that the way "
        "always reaches down to the end.": _visits(
            trailing=lambda T, n, o: T - 1 - np.arange(n) * (T // n)
        ),
        "trailing: the fractions are cut off; round them.": _visits(
            trailing=lambda T, n, o: np.floor(T - np.arange(n) * T / n) - 1
        ),
        "trailing: the 1 is taken off before rounding. Round first: a half goes to the even "
        "number, which is another one then.": _visits(
            trailing=lambda T, n, o: (np.arange(T, 0, -T / n)[:n] - 1).round()
        ),
        "trailing: halves are rounded up. .round() rounds them to the even number.": _visits(
            trailing=lambda T, n, o: np.floor(T - np.arange(n) * T / n + 0.5) - 1
        ),
        "trailing: it goes down to 0 before the 1 is taken off, so it ends at -1. The strides are "
        "T / steps: the last number before rounding is T / steps, too.": _visits(
            trailing=lambda T, n, o: np.linspace(T, 0, n).round() - 1
        ),
        "trailing: the offset is taken off. It is always 1 here; the offset belongs to leading "
        "alone.": _visits(trailing=lambda T, n, o: (T - np.arange(n) * T / n).round() - o),
        "linspace: the fractions are cut off; round them before .long().": _visits(
            linspace=lambda T, n, o: np.floor(np.linspace(0, T - 1, n)[::-1])
        ),
        "linspace: it reaches from 0 to T, but the last timestep is T - 1.": _visits(
            linspace=lambda T, n, o: np.linspace(0, T, n)[::-1].round()
        ),
        "linspace: T - 1 is left out. It takes both ends: the steps between them are "
        "steps - 1.": _visits(
            linspace=lambda T, n, o: np.linspace(0, T - 1, n, endpoint=False)[::-1].round()
        ),
        "linspace: 0 is left out. It takes both ends, 0 and T - 1.": _visits(
            linspace=lambda T, n, o: np.linspace(T - 1, 0, n, endpoint=False).round()
        ),
        "The offset belongs to leading alone; you add it always.": _visits(
            after=lambda t, o, spacing: t if spacing == "leading" else t + o
        ),
        "trailing: the offset is added. It belongs to leading alone.": _visits(
            after=lambda t, o, spacing: t + o if spacing == "trailing" else t
        ),
        "linspace: the offset is added. It belongs to leading alone.": _visits(
            after=lambda t, o, spacing: t + o if spacing == "linspace" else t
        ),
        "Every spacing gives the same in yours: "
        "look at `spacing`, there are three cases.": _leading_only,
        "leading and trailing are exchanged: leading counts up from the offset, trailing down "
        "from T - 1.": _exchanged,
    },
)
