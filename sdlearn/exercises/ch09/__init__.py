"""The exercises of chapter 09, cross-attention and guidance."""

from sdlearn.exercises.ch09.attention_weights import WEIGHTS
from sdlearn.exercises.ch09.drop_captions import DROP
from sdlearn.exercises.ch09.guide import GUIDE
from sdlearn.exercises.ch09.word_map import MAP

EXERCISES = [WEIGHTS, DROP, GUIDE, MAP]
