"""The exercises of chapter 10, the pipeline from a text to a picture."""

from sdlearn.exercises.ch10.check_seeds import SEEDS
from sdlearn.exercises.ch10.guided import GUIDED
from sdlearn.exercises.ch10.latent_size import LATENT_SIZE
from sdlearn.exercises.ch10.skipped import SKIPPED

EXERCISES = [GUIDED, LATENT_SIZE, SEEDS, SKIPPED]
