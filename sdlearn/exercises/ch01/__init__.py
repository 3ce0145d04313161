"""The exercises of chapter 01, the forward process."""

from sdlearn.exercises.ch01.q_sample import Q_SAMPLE
from sdlearn.exercises.ch01.q_step import Q_STEP
from sdlearn.exercises.ch01.snr import SNR
from sdlearn.exercises.ch01.zero_terminal import ZERO_TERMINAL

EXERCISES = [Q_STEP, Q_SAMPLE, SNR, ZERO_TERMINAL]
