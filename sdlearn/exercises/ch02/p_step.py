"""Chapter 02: the exercise `reverse.p_step`."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch02.common import plan
from sdlearn.schedule import extract


def _step_cases():
    x_t, x0, noise = (torch.randn(2, 3, 4, 4) for _ in range(3))
    for t, label in (
        ([40, 40], "every picture has the same t"),
        ([5, 60], "t differs"),
        ([0, 30], "one picture is at t = 0"),
    ):
        yield Case((x_t.clone(), torch.tensor(t), plan(), x0.clone(), noise.clone()), label)
    x_t, x0, noise = (torch.randn(3, 2) for _ in range(3))
    yield Case((x_t, torch.tensor([4, 9, 60]), plan(), x0, noise), "x_t is points [B, 2]")


def _step(wrong):
    """A wrong p_step: a function of the posterior's mean and variance, the noise, and β."""

    def answer(x_t, t, plan, x0, noise):
        mean, variance = diffusion.q_posterior(x0, x_t, t, plan)
        return wrong(mean, variance, noise, extract(plan.betas, t, x_t))

    return answer


def _again_forward(x_t, t, plan, x0, noise):
    return diffusion.q_sample(x0, t, plan, noise)


P_STEP = Exercise(
    "reverse.p_step",
    reference=diffusion.p_step,
    cases=_step_cases,
    hints=[
        "A draw from a Gaussian is its mean plus its standard deviation times standard noise.",
        "q_posterior returns the variance; the standard deviation is its root.",
        "mean + variance.sqrt() * noise. At t = 0 the variance is 0: nothing special to do there.",
    ],
    mistakes={
        "The noise is scaled by the variance; it should be the standard deviation: take the "
        "root.": _step(lambda m, v, n, b: m + v * n),
        "This is the mean alone: without new noise the samples lose their variety (see the "
        "Break it lab at the end).": _step(lambda m, v, n, b: m),
        "The noise is added in full size; scale it by the standard deviation, √β̃.": _step(
            lambda m, v, n, b: m + n
        ),
        "This uses √β_t; asked is the posterior's own variance β̃_t, which is 0 at t = 0. With "
        "β_t there would be noise left on the finished picture.": _step(
            lambda m, v, n, b: m + b.sqrt() * n
        ),
        "New noise is drawn "
        "inside. Use the noise that is handed in.": lambda x_t, t, plan, x0, noise: (
            diffusion.p_step(x_t, t, plan, x0, torch.randn_like(x0))
        ),
        "q_posterior gives the mean first, then the variance: yours are exchanged.": _step(
            lambda m, v, n, b: v + m.sqrt() * n
        ),
        "Brackets: the noise multiplies the standard "
        "deviation alone, and the mean is added.": _step(lambda m, v, n, b: (m + v.sqrt()) * n),
        "This takes the variance for its logarithm: its root is the standard deviation, with "
        "no exp.": _step(lambda m, v, n, b: m + (0.5 * v).exp() * n),
        "The step starts from x0; start from the posterior's mean, the first value of "
        "q_posterior.": lambda x_t, t, plan, x0, noise: (
            x0 + diffusion.q_posterior(x0, x_t, t, plan)[1].sqrt() * noise
        ),
        "The step starts from x_t; start from the posterior's mean, the first value of "
        "q_posterior.": lambda x_t, t, plan, x0, noise: (
            x_t + diffusion.q_posterior(x0, x_t, t, plan)[1].sqrt() * noise
        ),
        "That is the way forth: it noises x0 anew. The way back starts from the posterior's "
        "mean.": _again_forward,
        "The noise is subtracted. It would do no harm to the distribution, but the course "
        "compares pictures drawn with the same noise: use a plus.": _step(
            lambda m, v, n, b: m - v.sqrt() * n
        ),
    },
)
