"""The exercises of chapter 12, Stable Diffusion: its file, and what it is asked with."""

from sdlearn.exercises.ch12.meaning import MEANING
from sdlearn.exercises.ch12.ours import OURS
from sdlearn.exercises.ch12.rescaled import RESCALED
from sdlearn.exercises.ch12.weigh import WEIGH

EXERCISES = [OURS, MEANING, RESCALED, WEIGH]
