"""Chapter 02: the exercise `reverse.predict_x0`."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch02.common import plan
from sdlearn.schedule import extract


def _predict_cases():
    x_t, output = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for prediction in diffusion.PREDICTIONS:
        for t, when in (([40, 40], "every t is the same"), ([3, 60], "t differs")):
            yield Case(
                (x_t.clone(), torch.tensor(t), plan(), output.clone(), prediction),
                f"prediction is {prediction!r} and {when}",
            )
    t = torch.tensor([4, 9, 60])
    yield Case((torch.randn(3, 2), t, plan(), torch.randn(3, 2)),
               "no prediction is named and x_t is points [B, 2]")  # fmt: skip


def _predict(kind, wrong):
    """A predict_x0 that is wrong for one kind of prediction: a function of x_t, output and ᾱ."""

    def answer(x_t, t, plan, output, prediction="epsilon"):
        if prediction != kind:
            return diffusion.predict_x0(x_t, t, plan, output, prediction)
        return wrong(x_t, output, extract(plan.alphas_cumprod, t, x_t))

    return answer


def _only_epsilon(x_t, t, plan, output, prediction="epsilon"):
    return diffusion.predict_x0(x_t, t, plan, output, "epsilon")


def _one_step_alpha(x_t, t, plan, output, prediction="epsilon"):
    a = extract(plan.alphas, t, x_t)
    if prediction == "epsilon":
        return (x_t - (1 - a).sqrt() * output) / a.sqrt()
    return a.sqrt() * x_t - (1 - a).sqrt() * output if prediction == "v_prediction" else output


PREDICT_X0 = Exercise(
    "reverse.predict_x0",
    reference=diffusion.predict_x0,
    cases=_predict_cases,
    hints=[
        'Three cases: if prediction == "epsilon": …; if prediction == "v_prediction": …; and '
        '"sample", where there is nothing to do.',
        "For epsilon, solve x_t = √ᾱ x_0 + √(1-ᾱ) ε for x_0: first subtract, then divide.",
        "The right column of the table has all three; alpha_bar.sqrt() is √ᾱ.",
    ],
    mistakes={
        "epsilon: the noise is taken off, but the rest is not divided by √ᾱ, so the picture "
        "stays faded.": _predict("epsilon", lambda x, o, a: x - (1 - a).sqrt() * o),
        "epsilon: the noise is added; it has to be taken off: x_t minus √(1-ᾱ) times it.": _predict(
            "epsilon", lambda x, o, a: (x + (1 - a).sqrt() * o) / a.sqrt()
        ),
        "epsilon: the roots are missing: it is √(1-ᾱ) and √ᾱ.": _predict(
            "epsilon", lambda x, o, a: (x - (1 - a) * o) / a
        ),
        "epsilon: divided by ᾱ; it should be √ᾱ.": _predict(
            "epsilon", lambda x, o, a: (x - (1 - a).sqrt() * o) / a
        ),
        "epsilon: the whole noise is subtracted; in x_t there is only √(1-ᾱ) of it.": _predict(
            "epsilon", lambda x, o, a: (x - o) / a.sqrt()
        ),
        "v_prediction: the sign: √ᾱ x_t minus √(1-ᾱ) v.": _predict(
            "v_prediction", lambda x, o, a: a.sqrt() * x + (1 - a).sqrt() * o
        ),
        "v_prediction: the two factors are swapped: √ᾱ belongs to x_t, √(1-ᾱ) to v.": _predict(
            "v_prediction", lambda x, o, a: (1 - a).sqrt() * x - a.sqrt() * o
        ),
        "v_prediction: this gives the noise, √(1-ᾱ) x_t + √ᾱ v; the picture is "
        "√ᾱ x_t - √(1-ᾱ) v.": _predict(
            "v_prediction", lambda x, o, a: (1 - a).sqrt() * x + a.sqrt() * o
        ),
        "epsilon: brackets are missing: the whole of x_t - √(1-ᾱ) ε is divided by √ᾱ.": _predict(
            "epsilon", lambda x, o, a: x - (1 - a).sqrt() * o / a.sqrt()
        ),
        "epsilon: multiplied by √ᾱ; x_t has been faded by it, so divide.": _predict(
            "epsilon", lambda x, o, a: (x - (1 - a).sqrt() * o) * a.sqrt()
        ),
        "v_prediction: the roots are missing: it is √ᾱ and √(1-ᾱ).": _predict(
            "v_prediction", lambda x, o, a: a * x - (1 - a) * o
        ),
        'v_prediction: the output is returned as it is; that is for "sample". Is the name '
        'spelt "v_prediction"?': _predict("v_prediction", lambda x, o, a: o),
        "v_prediction: v is taken for noise; from "
        "v it is √ᾱ x_t - √(1-ᾱ) v, with no division.": _predict(
            "v_prediction", lambda x, o, a: (x - (1 - a).sqrt() * o) / a.sqrt()
        ),
        "This uses α_t of one step; in x_t is the "
        "noise of all steps: schedule.alphas_cumprod.": _one_step_alpha,
        "sample: x_t is returned; the picture is the network's output.": _predict(
            "sample", lambda x, o, a: x
        ),
        "The output is taken for noise, whatever "
        "`prediction` says: there are three cases.": _only_epsilon,
        'sample: the network\'s answer is x_0 already; for "sample" return it as it is.': _predict(
            "sample", lambda x, o, a: (x - (1 - a).sqrt() * o) / a.sqrt()
        ),
    },
)
