"""Exercises that check themselves, in the words of the student (every chapter uses this).

In a notebook:

    from sdlearn.exercises import exercise, hint, progress, solution

    @exercise("forward.q_sample")
    def q_sample(x0, t, schedule, noise):
        ...  # your code

The chapters' exercises are in the banks, `sdlearn/exercises/chNN/`: one file for each exercise,
and an `__init__.py` that lists them in `EXERCISES`. A new folder is found by its name. How to
write the file of an exercise, `ch01/q_sample.py`:

    from sdlearn import diffusion
    from sdlearn.exercises.bank import Case, Exercise

    def _cases():                       # called anew for each run: always fresh tensors,
        x0 = torch.randn(2, 3, 4, 4)    # random ones the same each time (it is seeded)
        schedule = NoiseSchedule.linear(100)
        for t, label in [([7, 7], "both pictures have the same t"), ([0, 60], "t differs")]:
            yield Case((x0.clone(), torch.tensor(t), schedule, torch.randn_like(x0)), label)

    Q_SAMPLE = Exercise(
        "forward.q_sample",
        reference=diffusion.q_sample,               # the package's own, never a copy
        cases=_cases,
        hints=["Which two numbers multiply x0 and the noise?", "Their squares add up to 1."],
        mistakes={                                  # five or more, each with what to tell
            "The noise is scaled by 1-ᾱ; it should be √(1-ᾱ).": lambda x0, t, s, noise: ...,
        },
        advice={                                    # Python's error → what to do about it
            "converted to Scalar": "t holds a step for each picture: index with t itself.",
        },
    )

Labels complete the sentence "right in the case …, wrong in …". Choose cases that tell all mistakes
apart, with more than one picture and unequal t somewhere. For classes, answers that take part in a
longer run, or arguments that may be changed, see `run` and `changes` of `bank.Exercise`.
`pytest tests/test_exercise_banks.py` says what a bank still lacks.
"""

from .engine import exercise, hint, progress, results, solution

__all__ = ["exercise", "hint", "progress", "results", "solution"]
