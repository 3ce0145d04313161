"""The exercises of chapter 07, the image autoencoder of latent diffusion."""

from sdlearn.exercises.ch07.downsample import DOWNSAMPLE
from sdlearn.exercises.ch07.encode import ENCODE
from sdlearn.exercises.ch07.gradient_loss import GRADIENT
from sdlearn.exercises.ch07.ramp import RAMP

EXERCISES = [DOWNSAMPLE, GRADIENT, ENCODE, RAMP]
