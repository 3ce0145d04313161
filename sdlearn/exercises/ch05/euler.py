"""Chapter 05: the exercise `samplers.euler`."""

from sdlearn import samplers
from sdlearn.exercises.bank import Exercise
from sdlearn.exercises.ch05.common import one_step, run_sampler, sampler_cases, unmoved


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
    cases=sampler_cases,
    run=run_sampler,
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
        "y = y + length * slope.": unmoved,
        "It equals one step from the very first y, with the last pair of levels. Each step starts "
        "where the one before has ended: call the new one y too.": _euler_from_the_start,
        "It equals the guess of the last step, x0, which is y only where σ_next is 0. The last "
        "σ_next need not be 0: take it from the pair, and return y.": _euler_last_guess,
        "The step to σ = 0 is left out. It is a step like the others, and takes the last noise "
        "away.": _before_zero,
        "Only the first step is done: the return belongs after the loop, not in it.": one_step(
            samplers.euler
        ),
        "The guess is asked for once, before the "
        "loop. Ask again in every step: denoise(y, i).": _euler_frozen_guess,
        "denoise is always told that this is step 0: hand it i, or the network is told the "
        "wrong noise level.": _euler_first_guess,
        "denoise is told i + 1; y is still at the level of step i.": _euler_off_by_one,
    },
)
