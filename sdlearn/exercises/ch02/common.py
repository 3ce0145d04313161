"""What exercises of chapter 02 share."""

from sdlearn.schedule import NoiseSchedule


def plan():
    return NoiseSchedule.linear(100, 0.01, 0.2)
