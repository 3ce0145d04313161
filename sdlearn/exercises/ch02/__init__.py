"""The exercises of chapter 02, the reverse process."""

from sdlearn.exercises.ch02.loss import LOSS
from sdlearn.exercises.ch02.p_step import P_STEP
from sdlearn.exercises.ch02.predict_x0 import PREDICT_X0
from sdlearn.exercises.ch02.q_posterior import Q_POSTERIOR

EXERCISES = [Q_POSTERIOR, PREDICT_X0, P_STEP, LOSS]
