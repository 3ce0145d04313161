"""The exercises of chapter 05, the samplers."""

import math

import numpy as np
import torch

from sdlearn import samplers
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.schedule import NoiseSchedule

LEVELS = [(6.0, 2.5), (2.5, 1.5), (1.5, 0.4), (0.4, 0.0)]


def _denoise(y, i):
    """A stand-in for a network's guess: smooth, different in each step."""
    return torch.tanh(y * (0.3 + 0.2 * i)) + 0.1 * i


def _sampler_cases():
    yield Case((_denoise, 6 * torch.randn(3, 2), list(LEVELS), None),
               "four steps down to σ = 0, with points [B, 2]")  # fmt: skip
    yield Case((_denoise, 6 * torch.randn(2, 3, 4, 4), LEVELS[:3], None),
               "three steps that end before σ = 0, with pictures")  # fmt: skip
    yield Case((_denoise, 3 * torch.randn(3, 2), [(3.0, 1.0)], None), "there is one step")
    yield Case((_denoise, 4 * torch.randn(1, 2).double(), LEVELS[1:3], torch.Generator()),
               "two steps, with one point in double precision")  # fmt: skip


def _counted(guess, limit):
    """`guess` that refuses to be asked twice in a step: calls are what a sampler costs."""
    asked = []

    def denoise(y, i, **trial):
        if isinstance(i, float):
            raise RuntimeError(f"denoise is told {i:g}: it takes the step's number, i, not its σ")
        if any(y is one and i is step for one, step in asked):
            raise RuntimeError("denoise is asked more than once a step: keep its answer, as x0")
        if len(asked) == limit:
            more = "denoise is asked more often than there are steps: ask once a step"
            raise RuntimeError(f"{more}, denoise(y, i), and keep the answer, as x0")
        asked.append((y, i))
        return guess(y, i)

    return denoise


def _run_sampler(answer, denoise, y, levels, generator):
    sources = [source for source in (torch.default_generator, generator) if source]
    before = [source.get_state() for source in sources]
    value = answer(_counted(denoise, len(levels)), y, levels, generator)
    if not all(torch.equal(old, source.get_state()) for old, source in zip(before, sources)):
        less = "the noise that is in y already is made smaller"
        raise RuntimeError(f"it draws fresh noise. This sampler draws none: {less}")
    return value


def _run_dpmpp(answer, denoise, y, levels, generator):
    """Calls an answer; says what to do where it divides by 0, or reckons with None."""
    steps, begun = list(levels), []  # an answer may empty its `levels`

    def noted(y, i):
        begun.append(steps[len(begun)])
        return denoise(y, i)

    try:
        return _run_sampler(answer, noted, y, levels, generator)
    except (ZeroDivisionError, TypeError) as error:
        divided = isinstance(error, ZeroDivisionError)
        if begun and (divided or "NoneType" in str(error)):
            first = "In step 0 nothing is remembered (h_before is 0, x0_before None): middle = x0"
            later = f"This is step {len(begun) - 1}. Is h_before still 0, or x0_before None"
            said = f"{first} there." if len(begun) == 1 else f"{later}? Set both in every step."
            if divided and begun[-1][1] == 0:
                said = "In the last step sigma_next is 0: do not divide by it."
            error.args = (f"{error}. {said}",)
        raise


def _one_step(sampler):
    return lambda denoise, y, levels, generator=None: sampler(denoise, y, levels[:1])


def _unmoved(denoise, y, levels, generator=None):
    return y


def _before_zero(denoise, y, levels, generator=None):
    return samplers.euler(denoise, y, [pair for pair in levels if pair[1] > 0])


def _euler(step):
    """A wrong Euler sampler: step(y, x0, σ, next σ) gives the next y."""

    def answer(denoise, y, levels, generator=None):
        for i, (sigma, sigma_next) in enumerate(levels):
            y = step(y, denoise(y, i), sigma, sigma_next)
        return y

    return answer


def _euler_first_guess(denoise, y, levels, generator=None):
    return samplers.euler(lambda y, i: denoise(y, 0), y, levels)


def _euler_frozen_guess(denoise, y, levels, generator=None):
    x0 = denoise(y, 0)
    return samplers.euler(lambda y, i: x0, y, levels)


def _euler_off_by_one(denoise, y, levels, generator=None):
    return samplers.euler(lambda y, i: denoise(y, i + 1), y, levels)


def _euler_from_the_start(denoise, y, levels, generator=None):
    guesses = [denoise(y, i) for i in range(len(levels))]
    return samplers.euler(lambda y, i: guesses[-1], y, levels[-1:])


def _euler_last_guess(denoise, y, levels, generator=None):
    *_, last = range(len(levels))
    return denoise(samplers.euler(denoise, y, levels[:last]), last)


EULER = Exercise(
    "samplers.euler",
    reference=samplers.euler,
    cases=_sampler_cases,
    run=_run_sampler,
    hints=[
        "Two lines in the loop: the slope at (y, σ), then a step along it.",
        "The slope is (y - x0) / sigma: what is left when the guess is taken away, per unit of σ.",
        "y = y + length * slope. The length is negative: the noise shrinks. "
        "After the loop, return y.",
    ],
    mistakes={
        "The step goes the wrong way, away from the guess: the slope is y minus the guess, divided "
        "by σ; the length, sigma_next - sigma, is negative; their product is added.": _euler(
            lambda y, x0, s, n: y + (n - s) * (x0 - y) / s
        ),
        "The step goes by the next σ; it has to go by the difference, sigma_next - sigma.": _euler(
            lambda y, x0, s, n: y + n * (y - x0) / s
        ),
        "The step goes by minus the whole of σ, which is all the way to the guess: go by "
        "sigma_next - sigma.": _euler(lambda y, x0, s, n: x0),
        "The slope is not divided by σ: y minus the guess is noise of size σ, and the slope is "
        "the noise alone.": _euler(lambda y, x0, s, n: y + (n - s) * (y - x0)),
        "The slope is divided by the next σ; it is measured where y stands, at σ.": _euler(
            lambda y, x0, s, n: y + (n - s) * (y - x0) / n
        ),
        "The step starts from the guess; it has to start from y.": _euler(
            lambda y, x0, s, n: x0 + (n - s) * (y - x0) / s
        ),
        "The guess itself is taken for the slope; the slope is (y - guess) / σ.": _euler(
            lambda y, x0, s, n: y + (n - s) * x0
        ),
        "That is DDPM's share: the noise shrinks by (σ_next/σ)², and none comes back. Euler's "
        "step goes by sigma_next - sigma.": _euler(
            lambda y, x0, s, n: x0 + (n / s) ** 2 * (y - x0)
        ),
        "The step alone is left, y is forgotten: the step is added to y.": _euler(
            lambda y, x0, s, n: (n - s) * (y - x0) / s
        ),
        "The length is missing: the step is the slope times sigma_next - sigma.": _euler(
            lambda y, x0, s, n: y + (y - x0) / s
        ),
        "The slope is divided by σ²; y minus the guess has size σ, so once by σ is enough.": _euler(
            lambda y, x0, s, n: y + (n - s) * (y - x0) / s**2
        ),
        "It equals the y that was handed in. Each step gives a new y: "
        "y = y + length * slope.": _unmoved,
        "It equals one step from the very first y, with the last pair of levels. Each step starts "
        "where the one before has ended: call the new one y too.": _euler_from_the_start,
        "It equals the guess of the last step, x0, which is y only where σ_next is 0. The last "
        "σ_next need not be 0: take it from the pair, and return y.": _euler_last_guess,
        "The step to σ = 0 is left out. It is a step like the others, and takes the last noise "
        "away.": _before_zero,
        "Only the first step is done: the return belongs after the loop, not in it.": _one_step(
            samplers.euler
        ),
        "The guess is asked for once, before the "
        "loop. Ask again in every step: denoise(y, i).": _euler_frozen_guess,
        "denoise is always told that this is step 0: hand it i, or the network is told the "
        "wrong noise level.": _euler_first_guess,
        "denoise is told i + 1; y is still at the level of step i.": _euler_off_by_one,
    },
)


def _dpmpp(middle=None, ratio=None, keep=None, last=False, step=None, measure=None, y_after=False):
    """A wrong dpmpp_2m, by the part that is wrong.

    middle(x0, before, r): where the guess is heading, r = h / h_before. ratio(h, h_before).
    keep(x0, middle, before): what is remembered. last: carry on in the last step too.
    step(y, x0, middle, σ, next σ). measure(σ, next σ): h. y_after: remember the new y.
    """
    middle = middle or (lambda x0, before, r: x0 + r / 2 * (x0 - before))
    ratio = ratio or (lambda h, h_before: h / h_before)
    keep = keep or (lambda x0, middle, before: x0)
    step = step or (lambda y, x0, middle, s, n: middle + n / s * (y - middle))
    measure = measure or (lambda s, n: math.log(s / n) if n > 0 else math.inf)

    def answer(denoise, y, levels, generator=None):
        h_before, before = 0, None
        for i, (sigma, sigma_next) in enumerate(levels):
            x0, h = denoise(y, i), measure(sigma, sigma_next)
            ahead = x0
            if before is not None and (last or sigma_next > 0):
                ahead = middle(x0, before, ratio(h, h_before))
            y = step(y, x0, ahead, sigma, sigma_next)
            h_before, before = h, y if y_after else keep(x0, ahead, before)
        return y

    return answer


def _dpmpp_last_by_number(denoise, y, levels, generator=None):
    told = []

    def keep(y, i):
        told.append((y, denoise(y, i)))
        return told[-1][1]

    samplers.dpmpp_2m(keep, y, levels)
    y, x0 = told[-1]
    return samplers.euler(lambda y, i: x0, y, levels[-1:])


def _dpmpp_repaired(denoise, y, levels, generator=None):
    return _dpmpp(last=True)(denoise, y, levels).nan_to_num()


DPMPP_2M = Exercise(
    "samplers.dpmpp_2m",
    reference=samplers.dpmpp_2m,
    cases=_sampler_cases,
    run=_run_dpmpp,
    hints=[
        "In the first step and in the last: middle = x0. In between: x0 and half of what it is "
        "going to move in this step.",
        "In the step before, of length h_before, the guess moved by x0 - x0_before. In this one, "
        "of length h, it will move h / h_before times as far.",
        "middle = x0 + h / (2 * h_before) * (x0 - x0_before), if h_before > 0 and h < math.inf. "
        "Then y = middle + sigma_next / sigma * (y - middle), and "
        "h_before, x0_before = h, x0.",
    ],
    mistakes={
        "The guess is never carried on, so this is DDIM. Is middle used in the step, and are "
        "h_before and x0_before set at the end of each one?": samplers.euler,
        "The guess is carried back to where it was: the change is x0 - x0_before.": _dpmpp(
            lambda x0, before, r: x0 - r / 2 * (x0 - before)
        ),
        "The guess is carried to the end of the step; half-way is right, the mean over the "
        "step: the 2 in h / (2 * h_before).": _dpmpp(lambda x0, before, r: x0 + r * (x0 - before)),
        "The ratio is upside down: this step's h above, the one before below.": _dpmpp(
            ratio=lambda h, h_before: h_before / h if h else 0
        ),
        "The ratio of the two step lengths, h / h_before, is missing: they are not equally "
        "long.": _dpmpp(ratio=lambda h, h_before: 1),
        "h is measured in σ; over log σ the guess moves nearly in a line: h is "
        "log(sigma / sigma_next).": _dpmpp(measure=lambda s, n: s - n),
        "The middle is remembered for the next step; remember the guess itself, x0_before = x0. "
        "(And where middle is x0, middle += … changes x0 as well.)": _dpmpp(
            keep=lambda x0, middle, before: middle
        ),
        "x0_before is the guess of the very first step for ever: set it in each step.": _dpmpp(
            keep=lambda x0, middle, before: x0 if before is None else before
        ),
        "The last step, to σ = 0, carries the guess on as well. Its h is infinite, which makes "
        "NaN: take middle = x0 there.": _dpmpp(last=True),
        "The step keeps σ_next/σ of the whole of y; it should be of what lies beyond the "
        "middle, y - middle.": _dpmpp(step=lambda y, x0, middle, s, n: middle + n / s * y),
        "The step starts from y; it should start from the middle: "
        "middle + sigma_next / sigma * (y - middle).": _dpmpp(
            step=lambda y, x0, middle, s, n: y + n / s * (y - middle)
        ),
        "The step takes the noise as y - x0; the middle is in both of its places, so it is "
        "y - middle.": _dpmpp(step=lambda y, x0, middle, s, n: middle + n / s * (y - x0)),
        "The step starts from x0; the middle is in both of its places: "
        "middle + sigma_next / sigma * (y - middle).": _dpmpp(
            step=lambda y, x0, middle, s, n: x0 + n / s * (y - middle)
        ),
        "Python reads h / 2 * h_before as (h / 2) * h_before: put 2 * h_before in "
        "brackets.": _dpmpp(ratio=lambda h, h_before: h * h_before),
        "The guess is carried on four times too far: the 2 belongs below, "
        "h / (2 * h_before).": _dpmpp(lambda x0, before, r: x0 + 2 * r * (x0 - before)),
        "The middle is the mean with the guess before, half-way back. Carry the guess on: add "
        "h / (2 * h_before) times x0 - x0_before.": _dpmpp(lambda x0, before, r: (x0 + before) / 2),
        "The last step takes middle = x0 even where it ends before σ = 0. It is a special one "
        "only if sigma_next is 0: ask for that.": _dpmpp_last_by_number,
        "The step keeps (σ_next/σ)² of y - middle, which is DDPM's share; here it is "
        "sigma_next / sigma.": _dpmpp(
            step=lambda y, x0, middle, s, n: middle + (n / s) ** 2 * (y - middle)
        ),
        "The factor of y - middle is upside down: it is sigma_next / sigma, which is "
        "e to the power -h.": _dpmpp(
            step=lambda y, x0, middle, s, n: middle + (s / n if n else math.inf) * (y - middle)
        ),
        "h is taken for the part of the way to the middle, and is infinite in the last step. "
        "What is left of y - middle is sigma_next / sigma: that is e to the power -h.": _dpmpp(
            step=lambda y, x0, middle, s, n: y + (math.log(s / n) if n else math.inf) * (middle - y)
        ),
        "y jumps to the middle, and all noise is gone at once: sigma_next / sigma of y - middle "
        "stays.": _dpmpp(step=lambda y, x0, middle, s, n: middle),
        "It equals the y that was handed in. Each step gives a new one: "
        "y = middle + sigma_next / sigma * (y - middle).": _unmoved,
        "y is remembered in place of the guess: x0_before = x0.": _dpmpp(y_after=True),
        "It is 0 after the step to σ = 0. There h is infinite, which makes NaN: take middle = x0, "
        "there is nothing to repair then.": _dpmpp_repaired,
        "Only the first step is done: the return belongs after the loop, not in it.": _one_step(
            samplers.dpmpp_2m
        ),
    },
)


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


def _karras_cases():
    yield Case((0.03, 14.6, 8), "8 levels, ρ = 7")
    yield Case((0.002, 80.0, 5, 3), "5 levels, ρ = 3")
    yield Case((0.1, 10.0, 2), "2 levels: both ends")


def _run_karras(answer, sigma_min, sigma_max, steps, rho=None):
    """Calls an answer; an array, a list or a tensor of any precision will do."""
    args = (sigma_min, sigma_max, steps)
    value = answer(*args) if rho is None else answer(*args, rho)
    if isinstance(value, tuple):
        raise TypeError("it returns a tuple (a comma in the return line?); one array is expected")
    if isinstance(value, (np.ndarray, np.number, list, float)):
        value = torch.from_numpy(np.array(value, dtype=np.float64))
    return value.double() if isinstance(value, torch.Tensor) else value


def _karras(wrong):
    """A wrong karras_sigmas: a function of σ_min, σ_max, the way u from 0 to 1, and ρ."""
    return lambda low, high, steps, rho=7: wrong(low, high, np.linspace(0, 1, steps), rho)


KARRAS = Exercise(
    "samplers.karras_sigmas",
    reference=samplers.karras_sigmas,
    cases=_karras_cases,
    run=_run_karras,
    hints=[
        "Three steps: the ρ-th root of both ends, a straight line between them, the ρ-th power.",
        "The ρ-th root is ** (1 / rho). The line starts at the high end: "
        "high + np.linspace(0, 1, steps) * (low - high).",
        "return (high + np.linspace(0, 1, steps) * (low - high)) ** rho, with high = "
        "sigma_max ** (1 / rho) and low = sigma_min ** (1 / rho).",
    ],
    mistakes={
        "These are still the roots: raise the line to the power ρ at the end.": _karras(
            lambda a, b, u, r: b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r))
        ),
        "They rise. Sampling begins at σ_max: the highest level comes first.": _karras(
            lambda a, b, u, r: (a ** (1 / r) + u * (b ** (1 / r) - a ** (1 / r))) ** r
        ),
        "This is a straight line in σ itself. Take the ρ-th roots of both ends first.": _karras(
            lambda a, b, u, r: b + u * (a - b)
        ),
        "This is a straight line in log σ. That is close to a very large ρ; here it is the "
        "ρ-th root in place of the logarithm.": _karras(lambda a, b, u, r: b * (a / b) ** u),
        "The power at the end is taken of one part alone: put the whole sum in brackets.": _karras(
            lambda a, b, u, r: b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r)) ** r
        ),
        "The root is taken twice: at the end comes the power, ** rho.": _karras(
            lambda a, b, u, r: (b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r))) ** (1 / r)
        ),
        "It equals 1 everywhere. Is the exponent 1 // rho? That is 0, and any number to the power "
        "0 is 1: write 1 / rho.": _karras(lambda a, b, u, r: np.ones_like(u)),
        "It equals σ_min times u to the power ρ: σ_max has fallen out. Put low - high in brackets, "
        "u goes with both.": _karras(lambda a, b, u, r: (u * a ** (1 / r)) ** r),
        "The power at the end is always 7 in yours: use `rho`.": _karras(
            lambda a, b, u, r: (b ** (1 / r) + u * (a ** (1 / r) - b ** (1 / r))) ** 7
        ),
        "σ_max is left out: both ends belong to the levels, "
        "u = np.linspace(0, 1, steps).": lambda a, b, steps, rho=7: samplers.karras_sigmas(
            a, b, steps + 1, rho
        )[1:],
        "Root and power are exchanged: first ** (1 / rho), at the end ** rho.": _karras(
            lambda a, b, u, r: (b**r + u * (a**r - b**r)) ** (1 / r)
        ),
        "ρ is always 7 in yours: use `rho`.": lambda a, b, steps, rho=7: samplers.karras_sigmas(
            a, b, steps
        ),
        "σ_min is not reached: both ends belong "
        "to the levels, np.linspace(0, 1, steps).": lambda a, b, steps, rho=7: (
            samplers.karras_sigmas(a, b, steps + 1, rho)[:-1]
        ),
        "There is one level more than asked for. The 0 at the end is not one of them: "
        "`levels` gets it elsewhere.": lambda a, b, steps, rho=7: np.append(
            samplers.karras_sigmas(a, b, steps, rho), 0.0
        ),
        "Python reads x ** 1 / rho as (x ** 1) / rho: put the root's exponent in brackets, "
        "x ** (1 / rho).": _karras(lambda a, b, u, r: (b / r + u * (a / r - b / r)) ** r),
        "The line leaves σ_max upwards: down to σ_min it goes by u times (low - high).": _karras(
            lambda a, b, u, r: (b ** (1 / r) + u * (b ** (1 / r) - a ** (1 / r))) ** r
        ),
    },
)

EXERCISES = [EULER, DPMPP_2M, TIMESTEPS, KARRAS]
