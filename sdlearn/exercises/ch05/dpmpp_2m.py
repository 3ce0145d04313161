"""Chapter 05: the exercise `samplers.dpmpp_2m`."""

import math

from sdlearn import samplers
from sdlearn.exercises.bank import Exercise
from sdlearn.exercises.ch05.common import one_step, run_sampler, sampler_cases, unmoved


def _run_dpmpp(answer, denoise, y, levels, generator):
    """Calls an answer; says what to do where it divides by 0, or reckons with None."""
    steps, begun = list(levels), []  # an answer may empty its `levels`

    def noted(y, i):
        begun.append(steps[len(begun)])
        return denoise(y, i)

    try:
        return run_sampler(answer, noted, y, levels, generator)
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
    cases=sampler_cases,
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
        "y = middle + sigma_next / sigma * (y - middle).": unmoved,
        "y is remembered in place of the guess: x0_before = x0.": _dpmpp(y_after=True),
        "It is 0 after the step to σ = 0. There h is infinite, which makes NaN: take middle = x0, "
        "there is nothing to repair then.": _dpmpp_repaired,
        "Only the first step is done: the return belongs after the loop, not in it.": one_step(
            samplers.dpmpp_2m
        ),
    },
)
