"""The exercises of chapter 02, the reverse process."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise, Mistake
from sdlearn.schedule import NoiseSchedule, extract


def _plan():
    return NoiseSchedule.linear(100, 0.01, 0.2)


def _tables(x, t, plan):
    """β, ᾱ and ᾱ of the step before, for each picture."""
    bars = plan.alphas_cumprod
    before = torch.cat([torch.ones_like(bars[:1]), bars[:-1]])
    return extract(plan.betas, t, x), extract(bars, t, x), extract(before, t, x)


def _posterior_cases():
    x0, x_t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for t, label in (
        ([40, 40], "every picture has the same t"),
        ([5, 60], "t differs"),
        ([0, 30], "one picture is at t = 0"),
    ):
        yield Case((x0.clone(), x_t.clone(), torch.tensor(t), _plan()), label)
    yield Case((torch.randn(3, 2), torch.randn(3, 2), torch.tensor([4, 9, 60]), _plan()),
               "x0 is points [B, 2]")  # fmt: skip


def _posterior(mean, variance=None):
    """A wrong q_posterior: functions of x0, x_t, β, ᾱ and ᾱ before; None keeps the right one."""

    def answer(x0, x_t, t, plan):
        right_mean, right_variance = diffusion.q_posterior(x0, x_t, t, plan)
        values = (x0, x_t, *_tables(x0, t, plan))
        return (
            mean(*values) if mean else right_mean,
            variance(*values) if variance else right_variance,
        )

    return answer


Q_POSTERIOR = Exercise(
    "reverse.q_posterior",
    reference=diffusion.q_posterior,
    cases=_posterior_cases,
    returns=("mean", "variance"),
    hints=[
        "Both formulas stand just above; √α_t is (1 - beta).sqrt().",
        "The weight of x0 is alpha_bar_prev.sqrt() * beta / (1 - alpha_bar). Check at t = 0: it "
        "must be 1, and the variance 0.",
        "The weight of x_t is (1 - beta).sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar); the "
        "variance is beta * (1 - alpha_bar_prev) / (1 - alpha_bar).",
    ],
    mistakes=[
        Mistake(
            "The two weights of the mean are swapped: √ᾱ_{t-1} β_t goes with x0, √α_t (1-ᾱ_{t-1}) "
            "with x_t.",
            _posterior(
                lambda x0, x_t, b, a, p: (
                    (p.sqrt() * b * x_t + (1 - b).sqrt() * (1 - p) * x0) / (1 - a)
                )
            ),
        ),  # fmt: skip
        Mistake(
            "The variance is β_t; the posterior's is smaller, β̃_t = β_t (1-ᾱ_{t-1})/(1-ᾱ_t).",
            _posterior(None, lambda x0, x_t, b, a, p: b),
        ),
        Mistake(
            "That is the standard deviation; the second value should be the variance β̃: leave "
            "the root out.",
            _posterior(None, lambda x0, x_t, b, a, p: (b * (1 - p) / (1 - a)).sqrt()),
        ),
        Mistake(
            "The fraction in the variance is upside down: (1-ᾱ_{t-1}) is above, (1-ᾱ_t) below.",
            _posterior(None, lambda x0, x_t, b, a, p: b * (1 - a) / (1 - p)),
        ),
        Mistake(
            "In the weight of x0 the root is missing: it is √ᾱ_{t-1}, not ᾱ_{t-1}.",
            _posterior(
                lambda x0, x_t, b, a, p: (p * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
            ),
        ),  # fmt: skip
        Mistake(
            "In the weight of x_t the root is missing: it is √α_t, not α_t.",
            _posterior(
                lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + (1 - b) * (1 - p) * x_t) / (1 - a)
            ),
        ),  # fmt: skip
        Mistake(
            "The mean uses ᾱ_t where ᾱ_{t-1} belongs: alpha_bar_prev above the line, alpha_bar "
            "below it.",
            _posterior(
                lambda x0, x_t, b, a, p: (
                    (a.sqrt() * b * x0 + (1 - b).sqrt() * (1 - a) * x_t) / (1 - a)
                )
            ),
        ),  # fmt: skip
        Mistake(
            "The mean is not divided by 1-ᾱ_t.",
            _posterior(lambda x0, x_t, b, a, p: p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t),
        ),  # fmt: skip
        Mistake(
            "In the weight of x0 it is √ᾱ_{t-1}, alpha_bar_prev; yours is √ᾱ_t.",
            _posterior(
                lambda x0, x_t, b, a, p: (
                    (a.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
                )
            ),
        ),  # fmt: skip
        Mistake(
            "The two values are in the wrong order: mean first, then variance.",
            lambda x0, x_t, t, plan: diffusion.q_posterior(x0, x_t, t, plan)[::-1],
        ),
        Mistake(
            "In the weight of x_t it is √α_t = √(1-β_t), not √ᾱ_t.",
            _posterior(
                lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + a.sqrt() * (1 - p) * x_t) / (1 - a)
            ),
        ),  # fmt: skip
    ],
)


def _predict_cases():
    x_t, output = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for prediction in diffusion.PREDICTIONS:
        for t, when in (([40, 40], "every t is the same"), ([3, 60], "t differs")):
            yield Case(
                (x_t.clone(), torch.tensor(t), _plan(), output.clone(), prediction),
                f"prediction is {prediction!r} and {when}",
            )
    t = torch.tensor([4, 9, 60])
    yield Case((torch.randn(3, 2), t, _plan(), torch.randn(3, 2)),
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
    mistakes=[
        Mistake(
            "epsilon: the noise is taken off, but the rest is not divided by √ᾱ, so the picture "
            "stays faded.",
            _predict("epsilon", lambda x, o, a: x - (1 - a).sqrt() * o),
        ),
        Mistake(
            "epsilon: the noise is added; it has to be taken off: x_t minus √(1-ᾱ) times it.",
            _predict("epsilon", lambda x, o, a: (x + (1 - a).sqrt() * o) / a.sqrt()),
        ),
        Mistake(
            "epsilon: the roots are missing: it is √(1-ᾱ) and √ᾱ.",
            _predict("epsilon", lambda x, o, a: (x - (1 - a) * o) / a),
        ),
        Mistake(
            "epsilon: divided by ᾱ; it should be √ᾱ.",
            _predict("epsilon", lambda x, o, a: (x - (1 - a).sqrt() * o) / a),
        ),
        Mistake(
            "epsilon: the whole noise is subtracted; in x_t there is only √(1-ᾱ) of it.",
            _predict("epsilon", lambda x, o, a: (x - o) / a.sqrt()),
        ),
        Mistake(
            "v_prediction: the sign: √ᾱ x_t minus √(1-ᾱ) v.",
            _predict("v_prediction", lambda x, o, a: a.sqrt() * x + (1 - a).sqrt() * o),
        ),
        Mistake(
            "v_prediction: the two factors are swapped: √ᾱ belongs to x_t, √(1-ᾱ) to v.",
            _predict("v_prediction", lambda x, o, a: (1 - a).sqrt() * x - a.sqrt() * o),
        ),
        Mistake(
            "v_prediction: this gives the noise, √(1-ᾱ) x_t + √ᾱ v; the picture is "
            "√ᾱ x_t - √(1-ᾱ) v.",
            _predict("v_prediction", lambda x, o, a: (1 - a).sqrt() * x + a.sqrt() * o),
        ),
        Mistake(
            "The output is taken for noise, whatever `prediction` says: there are three cases.",
            _only_epsilon,
        ),
        Mistake(
            'sample: the network\'s answer is x_0 already; for "sample" return it as it is.',
            _predict("sample", lambda x, o, a: (x - (1 - a).sqrt() * o) / a.sqrt()),
        ),
    ],
)


def _step_cases():
    x_t, x0, noise = (torch.randn(2, 3, 4, 4) for _ in range(3))
    for t, label in (
        ([40, 40], "every picture has the same t"),
        ([5, 60], "t differs"),
        ([0, 30], "one picture is at t = 0"),
    ):
        yield Case((x_t.clone(), torch.tensor(t), _plan(), x0.clone(), noise.clone()), label)
    x_t, x0, noise = (torch.randn(3, 2) for _ in range(3))
    yield Case((x_t, torch.tensor([4, 9, 60]), _plan(), x0, noise), "x_t is points [B, 2]")


def _step(wrong):
    """A wrong p_step: a function of the posterior's mean and variance, the noise, and β."""

    def answer(x_t, t, plan, x0, noise):
        mean, variance = diffusion.q_posterior(x0, x_t, t, plan)
        return wrong(mean, variance, noise, extract(plan.betas, t, x_t))

    return answer


def _again_forward(x_t, t, plan, x0, noise):
    return diffusion.q_sample(x0, t, plan, noise)


P_STEP = Exercise(
    "reverse.p_step",
    reference=diffusion.p_step,
    cases=_step_cases,
    hints=[
        "A draw from a Gaussian is its mean plus its standard deviation times standard noise.",
        "q_posterior returns the variance; the standard deviation is its root.",
        "mean + variance.sqrt() * noise. At t = 0 the variance is 0: nothing special to do there.",
    ],
    mistakes=[
        Mistake(
            "The noise is scaled by the variance; it should be the standard deviation: take the "
            "root.",
            _step(lambda m, v, n, b: m + v * n),
        ),
        Mistake(
            "This is the mean alone: without new noise the samples lose their variety (see the "
            "Break it lab at the end).",
            _step(lambda m, v, n, b: m),
        ),
        Mistake(
            "The noise is added in full size; scale it by the standard deviation, √β̃.",
            _step(lambda m, v, n, b: m + n),
        ),
        Mistake(
            "This uses √β_t; asked is the posterior's own variance β̃_t, which is 0 at t = 0. With "
            "β_t there would be noise left on the finished picture.",
            _step(lambda m, v, n, b: m + b.sqrt() * n),
        ),
        Mistake(
            "New noise is drawn inside. Use the noise that is handed in.",
            lambda x_t, t, plan, x0, noise: diffusion.p_step(
                x_t, t, plan, x0, torch.randn_like(x0)
            ),
        ),
        Mistake(
            "That is the way forth: it noises x0 anew. The way back starts from the posterior's "
            "mean.",
            _again_forward,
        ),
        Mistake(
            "The noise is subtracted. It would do no harm to the distribution, but the course "
            "compares pictures drawn with the same noise: use a plus.",
            _step(lambda m, v, n, b: m - v.sqrt() * n),
        ),
    ],
)


def _loss_cases():
    weight = torch.ones(1, requires_grad=True)  # so that a lost gradient is noticed

    def model(x, t):
        """A stand-in for a network: smooth, different for each t."""
        return weight * torch.tanh(x * (1 + t.view(-1, *[1] * (x.dim() - 1)) / 50)) + 0.1

    x0, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    for prediction in diffusion.PREDICTIONS:
        t = torch.tensor([3, 40, 60])
        yield Case((model, x0.clone(), t, noise.clone(), _plan(), prediction),
                   f"prediction is {prediction!r}")  # fmt: skip
    yield Case((model, torch.randn(3, 2), t, torch.randn(3, 2), _plan()),
               "x0 is points [B, 2] and no prediction is named")  # fmt: skip


def _loss(wrong):
    """A wrong loss: a function of the network's answer, the target, x_0 and the noise."""

    def answer(model, x0, t, noise, plan, prediction="epsilon"):
        x_t = diffusion.q_sample(x0, t, plan, noise)
        aim = diffusion.target(x0, noise, t, plan, prediction)
        return wrong(model(x_t, t), aim, x0, noise)

    return answer


def _per_picture(error):
    return error.flatten(1).mean(dim=1)


def _clean_input(model, x0, t, noise, plan, prediction="epsilon"):
    aim = diffusion.target(x0, noise, t, plan, prediction)
    return _per_picture((model(x0, t) - aim) ** 2)


def _no_time(model, x0, t, noise, plan, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, plan, noise)
    aim = diffusion.target(x0, noise, t, plan, prediction)
    return _per_picture((model(x_t, torch.zeros_like(t)) - aim) ** 2)


def _scaled_time(model, x0, t, noise, plan, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, plan, noise)
    aim = diffusion.target(x0, noise, t, plan, prediction)
    return _per_picture((model(x_t, t / len(plan)) - aim) ** 2)


def _input_as_target(model, x0, t, noise, plan, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, plan, noise)
    return _per_picture((model(x_t, t) - x_t) ** 2)


LOSS = Exercise(
    "reverse.loss",
    reference=diffusion.loss_per_picture,
    cases=_loss_cases,
    hints=[
        "Four steps: x_t, the network's output, the target, the mean of the squared difference.",
        "x_t = q_sample(x0, t, schedule, noise); the output is model(x_t, t); the target is "
        "target(x0, noise, t, schedule, prediction).",
        "One number for each picture: error.square().flatten(1).mean(dim=1).",
    ],
    mistakes=[
        Mistake(
            "This is one number for the whole batch; asked is one for each picture, [B]: "
            ".flatten(1).mean(dim=1).",
            _loss(lambda o, a, x0, n: ((o - a) ** 2).mean()),
        ),
        Mistake(
            "The mean over the batch; asked is the mean over each picture: "
            ".flatten(1).mean(dim=1).",
            _loss(lambda o, a, x0, n: ((o - a) ** 2).mean(dim=0)),
        ),
        Mistake(
            "There is still a number for each pixel: take the mean over all dimensions but the "
            "first, .flatten(1).mean(dim=1).",
            _loss(lambda o, a, x0, n: (o - a) ** 2),
        ),
        Mistake(
            "The mean over the colours alone; take it over all dimensions but the first: "
            ".flatten(1).mean(dim=1).",
            _loss(lambda o, a, x0, n: ((o - a) ** 2).mean(dim=1)),
        ),
        Mistake(
            "A norm is the root of the sum of squares; asked is the mean of the squares.",
            _loss(lambda o, a, x0, n: (o - a).flatten(1).norm(dim=1)),
        ),
        Mistake(
            "The network gets t divided by the number of steps; hand it the t of each picture as "
            "it is.",
            _scaled_time,
        ),
        Mistake(
            "The squares are added up; take their mean, or the loss grows with the size of the "
            "pictures.",
            _loss(lambda o, a, x0, n: ((o - a) ** 2).flatten(1).sum(dim=1)),
        ),
        Mistake(
            "This compares with the noise, whatever `prediction` says: use target(…).",
            _loss(lambda o, a, x0, n: _per_picture((o - n) ** 2)),
        ),
        Mistake(
            "This compares with the picture, whatever `prediction` says: use target(…).",
            _loss(lambda o, a, x0, n: _per_picture((o - x0) ** 2)),
        ),
        Mistake(
            "The network gets the clean picture; it must get the noisy one, x_t = q_sample(…).",
            _clean_input,
        ),
        Mistake("The network is always told t = 0; hand it the t of each picture.", _no_time),
        Mistake(
            "The answer is compared with the network's input x_t; compare it with target(…).",
            _input_as_target,
        ),
        Mistake(
            "The mean of the absolute difference; asked is the mean of its square.",
            _loss(lambda o, a, x0, n: _per_picture((o - a).abs())),
        ),
        Mistake(
            "The difference is not squared: errors up and down cancel each other.",
            _loss(lambda o, a, x0, n: _per_picture(o - a)),
        ),
        Mistake(
            "There is a root over it: the mean square is asked for, not its root.",
            _loss(lambda o, a, x0, n: _per_picture((o - a) ** 2).sqrt()),
        ),
    ],
)

EXERCISES = [Q_POSTERIOR, PREDICT_X0, P_STEP, LOSS]
