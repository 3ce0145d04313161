"""The exercises of chapter 06, the variational autoencoder."""

from sdlearn.exercises.ch06.kl import KL
from sdlearn.exercises.ch06.kl_gaussians import KL_GAUSSIANS
from sdlearn.exercises.ch06.laplace_nll import NLL
from sdlearn.exercises.ch06.sample import SAMPLE

EXERCISES = [SAMPLE, KL, NLL, KL_GAUSSIANS]
