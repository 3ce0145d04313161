"""Chapter 01: the exercise `forward.q_sample`."""

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


def _fresh_noise(x, t, plan, noise):
    return diffusion.q_sample(x, t, plan, torch.randn_like(x))


def _minus_root_of_rest(value):
    return -(1 - value).sqrt()


Q_SAMPLE = Exercise(
    "forward.q_sample",
    reference=diffusion.q_sample,
    cases=forward_cases,
    hints=[
        "It has the shape of q_step, with ᾱ_t in the place of 1-β_t.",
        "What is left of the picture is √ᾱ; the squares of the two factors add up to 1.",
        "√ᾱ times x0, plus √(1-ᾱ) times the noise.",
    ],
    mistakes={
        "The noise is scaled by 1-ᾱ; it should be √(1-ᾱ): 1-ᾱ is its variance.": mix(root, rest),
        "The picture is scaled by ᾱ; it should be √ᾱ: ᾱ is its share of the variance.": mix(
            same, root_of_rest
        ),
        "Both roots are missing: the picture is scaled by √ᾱ, the noise by √(1-ᾱ).": mix(
            same, rest
        ),
        "The two factors are swapped: √ᾱ belongs to the picture, √(1-ᾱ) to the noise.": mix(
            root_of_rest, root
        ),
        "This uses α_t of one step; the jump needs ᾱ_t, the product of all α up to t: "
        "schedule.alphas_cumprod.": mix(root, root_of_rest, "alphas"),
        "New noise is drawn inside. Use the noise that is handed in: the network will be asked "
        "for exactly that one.": _fresh_noise,
        "The picture is not faded: √ᾱ has to stand before x0.": mix(one, root_of_rest),
        "The noise is subtracted; the network must "
        "learn the noise that was added: use a plus.": mix(root, _minus_root_of_rest),
        POINTS: for_pictures_only("alphas_cumprod"),
        HALVED: mix(lambda value: value / 2, lambda value: (1 - value) / 2),
        "Brackets: √ᾱ stands before x0 alone; the noise's factor is √(1-ᾱ).": mix(
            root, lambda value: (value * (1 - value)).sqrt()
        ),
        "The noise is scaled by √ᾱ like the picture; its factor is √(1-ᾱ).": mix(root, root),
    },
)
