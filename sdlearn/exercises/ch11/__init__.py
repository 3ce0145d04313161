"""The exercises of chapter 11, judging generated pictures."""

from sdlearn.exercises.ch11.frechet_distance import FRECHET
from sdlearn.exercises.ch11.kernel_distance import KERNEL
from sdlearn.exercises.ch11.manifold_shares import MANIFOLD
from sdlearn.exercises.ch11.wilson import WILSON

EXERCISES = [FRECHET, KERNEL, MANIFOLD, WILSON]
