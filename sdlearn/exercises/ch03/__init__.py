"""The exercises of chapter 03, the U-Net."""

from sdlearn.exercises.ch03.attention import ATTENTION
from sdlearn.exercises.ch03.resnet import RESNET
from sdlearn.exercises.ch03.timestep_embedding import TIME
from sdlearn.exercises.ch03.up_path import UP_PATH

EXERCISES = [TIME, RESNET, ATTENTION, UP_PATH]
