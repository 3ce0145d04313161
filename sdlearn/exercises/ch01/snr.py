"""Chapter 01: the exercise `forward.snr`."""

import torch

from sdlearn import schedule
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.schedule import NoiseSchedule


def _snr_cases():
    plan = NoiseSchedule.scaled_linear(100, 0.0085, 0.12)
    yield Case((plan, torch.tensor([10, 10])), "every entry of t is the same")
    yield Case((plan, torch.tensor([0, 30, 99])), "t differs")
    yield Case((NoiseSchedule.cosine(50), torch.arange(45)), "the schedule is another one")


SNR = Exercise(
    "forward.snr",
    reference=schedule.snr,
    cases=_snr_cases,
    hints=[
        "Take ᾱ at the timesteps t first: schedule.alphas_cumprod[t].",
        "The variance of the picture's part is ᾱ, that of the noise's part 1-ᾱ. Divide.",
    ],
    mistakes={
        "Upside down: signal over noise is ᾱ/(1-ᾱ).": lambda plan, t: (
            (1 - plan.alphas_cumprod[t]) / plan.alphas_cumprod[t]
        ),
        "This is the ratio of the two factors, √ᾱ/√(1-ᾱ); the SNR is the ratio of the "
        "variances: square it.": lambda plan, t: plan.snr(t).sqrt(),
        "That is the picture's share "
        "ᾱ alone; divide it by the noise's share, 1-ᾱ.": lambda plan, t: plan.alphas_cumprod[t],
        "α_t belongs to a single step; the noise of all steps up to t is in ᾱ_t: "
        "schedule.alphas_cumprod.": lambda plan, t: plan.alphas[t] / (1 - plan.alphas[t]),
        "This is the SNR at every timestep of the schedule; only those in t are asked for: "
        "index with [t].": lambda plan, t: plan.snr(),
        "Half right: √ᾱ over 1-ᾱ mixes a factor with a variance. It is ᾱ/(1-ᾱ).": lambda plan, t: (
            plan.alphas_cumprod[t].sqrt() / (1 - plan.alphas_cumprod[t])
        ),
        "This is a logarithm; the plain ratio is asked for.": lambda plan, t: plan.snr(t).log(),
        "This is in decibels; the plain ratio is asked for.": lambda plan, t: (
            10 * plan.snr(t).log10()
        ),
        "Brackets are missing: a / 1 - a is (a / 1) - a. Write a / (1 - a).": lambda plan, t: (
            plan.alphas_cumprod[t] / 1 - plan.alphas_cumprod[t]
        ),
    },
)
