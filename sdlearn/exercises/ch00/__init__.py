"""The exercises of chapter 00: the parts of a text-to-image model in miniature."""

from sdlearn.exercises.ch00.count_parameters import COUNT_PARAMETERS
from sdlearn.exercises.ch00.guided import GUIDED
from sdlearn.exercises.ch00.ideal_weights import IDEAL_WEIGHTS
from sdlearn.exercises.ch00.latent_shape import LATENT_SHAPE

EXERCISES = [LATENT_SHAPE, IDEAL_WEIGHTS, GUIDED, COUNT_PARAMETERS]
