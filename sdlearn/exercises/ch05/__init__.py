"""The exercises of chapter 05, the samplers."""

from sdlearn.exercises.ch05.dpmpp_2m import DPMPP_2M
from sdlearn.exercises.ch05.euler import EULER
from sdlearn.exercises.ch05.karras_sigmas import KARRAS
from sdlearn.exercises.ch05.timesteps import TIMESTEPS

EXERCISES = [EULER, DPMPP_2M, TIMESTEPS, KARRAS]
