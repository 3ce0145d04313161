"""Chapter 01: the exercise `forward.q_step`."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Exercise
from sdlearn.exercises.ch01.common import (
    HALVED,
    POINTS,
    for_pictures_only,
    forward_cases,
    mix,
    one,
    rest,
    root,
    root_of_rest,
    same,
)
from sdlearn.schedule import extract


def _q_step_with_alpha_bar(x, t, plan, noise):
    return diffusion.q_sample(x, t, plan, noise)


def _minus_root(value):
    return -value.sqrt()


Q_STEP = Exercise(
    "forward.q_step",
    reference=diffusion.q_step,
    cases=forward_cases,
    hints=[
        "Two terms: something times x_prev, plus something times noise. The formula stands above.",
        "The variance of the first term is 1-β, that of the second β. What multiplies a number "
        "whose variance is 1, to give it the variance β?",
        "√β times the noise, √(1-β) times x_prev. A tensor's root is beta.sqrt() or beta**0.5.",
    ],
    mistakes={
        "The noise is scaled by β; it should be √β: β is a variance, and what multiplies the "
        "noise is a standard deviation.": mix(root_of_rest, same, "betas"),
        "The picture is scaled by 1-β; it should be √(1-β), so that its variance is 1-β.": mix(
            rest, root, "betas"
        ),
        "New noise is drawn inside. Use the noise that is handed in: the network will be asked "
        "for exactly that one.": lambda x, t, plan, noise: diffusion.q_step(
            x, t, plan, torch.randn_like(x)
        ),
        "Both roots are missing: the picture is scaled by √(1-β), the noise by √β.": mix(
            rest, same, "betas"
        ),
        "The picture is not shrunk: without √(1-β) before it the variance grows in each step.": mix(
            one, root, "betas"
        ),
        "The two factors are swapped: √β belongs to the noise, √(1-β) to the picture.": mix(
            root, root_of_rest, "betas"
        ),
        "This is the jump from x_0 with ᾱ. One step uses β_t alone.": _q_step_with_alpha_bar,
        POINTS: for_pictures_only("betas"),
        "The root is in the wrong place: before x_prev stands √(1-β), not 1-√β.": mix(
            lambda beta: 1 - beta.sqrt(), root, "betas"
        ),
        "Brackets are missing: 1 - beta.sqrt() * x_prev takes the product from 1. Write "
        "(1 - beta).sqrt() * x_prev.": lambda x, t, plan, noise: (
            1 - mix(root, _minus_root, "betas")(x, t, plan, noise)
        ),
        HALVED: mix(lambda beta: (1 - beta) / 2, lambda beta: beta / 2, "betas"),
        "Only the mean is there: "
        "the noise has to be added, √β times it.": lambda x, t, plan, noise: (
            (1 - extract(plan.betas, t, x)).sqrt() * x
        ),
        "The noise is subtracted. As noise is symmetric that would do no harm in itself, but "
        "the network must learn "
        "the very noise that was added: use a plus.": lambda x, t, plan, noise: diffusion.q_step(
            x, t, plan, -noise
        ),
    },
)
