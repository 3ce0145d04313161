"""Chapter 02: the exercise `reverse.q_posterior`."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch02.common import plan
from sdlearn.schedule import extract


def _tables(x, t, plan):
    """β, ᾱ and ᾱ of the step before, for each picture."""
    bars = plan.alphas_cumprod
    before = torch.cat([torch.ones_like(bars[:1]), bars[:-1]])
    return extract(plan.betas, t, x), extract(bars, t, x), extract(before, t, x)


def _posterior_cases():
    x0, x_t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for t, label in (
        ([40, 40], "every picture has the same t"),
        ([5, 60], "t differs"),
        ([0, 30], "one picture is at t = 0"),
    ):
        yield Case((x0.clone(), x_t.clone(), torch.tensor(t), plan()), label)
    yield Case((torch.randn(3, 2), torch.randn(3, 2), torch.tensor([4, 9, 60]), plan()),
               "x0 is points [B, 2]")  # fmt: skip


def _posterior(mean, variance=None):
    """A wrong q_posterior: functions of x0, x_t, β, ᾱ and ᾱ before; None keeps the right one."""

    def answer(x0, x_t, t, plan):
        right_mean, right_variance = diffusion.q_posterior(x0, x_t, t, plan)
        values = (x0, x_t, *_tables(x0, t, plan))
        return (
            mean(*values) if mean else right_mean,
            variance(*values) if variance else right_variance,
        )

    return answer


def _with_before(before):
    """A wrong q_posterior: before(ᾱ table) in the place of ᾱ_{-1} = 1, at t = 0 only."""

    def answer(x0, x_t, t, plan):
        b, a, p = _tables(x0, t, plan)
        p = torch.where(p == 1, before(plan.alphas_cumprod), p)
        mean = (p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        return mean, b * (1 - p) / (1 - a)

    return answer


Q_POSTERIOR = Exercise(
    "reverse.q_posterior",
    reference=diffusion.q_posterior,
    cases=_posterior_cases,
    returns=("mean", "variance"),
    hints=[
        "Both formulas stand just above; √α_t is (1 - beta).sqrt().",
        "The weight of x0 is alpha_bar_prev.sqrt() * beta / (1 - alpha_bar). Check at t = 0: it "
        "must be 1, and the variance 0.",
        "The weight of x_t is (1 - beta).sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar); the "
        "variance is beta * (1 - alpha_bar_prev) / (1 - alpha_bar).",
    ],
    mistakes={
        "The two weights of the mean are swapped: √ᾱ_{t-1} β_t goes with x0, √α_t (1-ᾱ_{t-1}) "
        "with x_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x_t + (1 - b).sqrt() * (1 - p) * x0) / (1 - a)
        ),
        "The variance is β_t; the posterior's "
        "is smaller, β̃_t = β_t (1-ᾱ_{t-1})/(1-ᾱ_t).": _posterior(None, lambda x0, x_t, b, a, p: b),
        "That is the standard deviation; the second value should be the variance β̃: leave "
        "the root out.": _posterior(None, lambda x0, x_t, b, a, p: (b * (1 - p) / (1 - a)).sqrt()),
        "The fraction in the variance is upside "
        "down: (1-ᾱ_{t-1}) is above, (1-ᾱ_t) below.": _posterior(
            None, lambda x0, x_t, b, a, p: b * (1 - a) / (1 - p)
        ),
        "In the weight of x0 the root is missing: it is √ᾱ_{t-1}, not ᾱ_{t-1}.": _posterior(
            lambda x0, x_t, b, a, p: (p * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "In the weight of x_t the root is missing: it is √α_t, not α_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + (1 - b) * (1 - p) * x_t) / (1 - a)
        ),
        "The mean uses ᾱ_t where ᾱ_{t-1} belongs: alpha_bar_prev above the line, alpha_bar "
        "below it.": _posterior(
            lambda x0, x_t, b, a, p: (a.sqrt() * b * x0 + (1 - b).sqrt() * (1 - a) * x_t) / (1 - a)
        ),
        "The mean is not divided by 1-ᾱ_t.": _posterior(
            lambda x0, x_t, b, a, p: p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t
        ),
        "In the weight of x0 it is √ᾱ_{t-1}, alpha_bar_prev; yours is √ᾱ_t.": _posterior(
            lambda x0, x_t, b, a, p: (a.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "Only at t = 0 it is wrong: ᾱ_{t-1} is ᾱ_0 there. Before the first step there is no "
        "noise at all, so it must be 1: put a one before the table, alpha_bars_prev.": _with_before(
            lambda bars: bars[0]
        ),
        "Only at t = 0 it is wrong: the index -1 gives the last ᾱ of the table. Before the "
        "first step there is no noise at all, so "
        "it must be 1: alpha_bars_prev begins with it.": _with_before(lambda bars: bars[-1]),
        "In the weight of x0 β_t is missing: it is √ᾱ_{t-1} β_t / (1-ᾱ_t).": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "Brackets are missing in the mean: both "
        "terms are divided by 1-ᾱ_t, not one alone.": _posterior(
            lambda x0, x_t, b, a, p: p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t / (1 - a)
        ),
        "In the weight of x_t it is √α_t = √(1-β_t), not √β_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + b.sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "The two values are in "
        "the wrong order: mean first, then variance.": lambda x0, x_t, t, plan: (
            diffusion.q_posterior(x0, x_t, t, plan)[::-1]
        ),
        "In the weight of x_t it is √α_t = √(1-β_t), not √ᾱ_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + a.sqrt() * (1 - p) * x_t) / (1 - a)
        ),
    },
)
