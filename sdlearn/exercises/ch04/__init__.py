"""The exercises of chapter 04, training on images."""

from sdlearn.exercises.ch04.adamw_step import ADAMW_STEP
from sdlearn.exercises.ch04.learning_rate import LEARNING_RATE
from sdlearn.exercises.ch04.to_tensor import TO_TENSOR
from sdlearn.exercises.ch04.update_ema import UPDATE_EMA

EXERCISES = [TO_TENSOR, ADAMW_STEP, LEARNING_RATE, UPDATE_EMA]
