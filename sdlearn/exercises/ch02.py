"""The exercises of chapter 02, the reverse process."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise
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


def _with_before(before):
    """A wrong q_posterior: before(ᾱ table) in the place of ᾱ_{-1} = 1, at t = 0 only."""

    def answer(x0, x_t, t, plan):
        b, a, p = _tables(x0, t, plan)
        p = torch.where(p == 1, before(plan.alphas_cumprod), p)
        mean = (p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        return mean, b * (1 - p) / (1 - a)

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
    mistakes={
        "The two weights of the mean are swapped: √ᾱ_{t-1} β_t goes with x0, √α_t (1-ᾱ_{t-1}) "
        "with x_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x_t + (1 - b).sqrt() * (1 - p) * x0) / (1 - a)
        ),
        "The variance is β_t; the posterior's "
        "is smaller, β̃_t = β_t (1-ᾱ_{t-1})/(1-ᾱ_t).": _posterior(None, lambda x0, x_t, b, a, p: b),
        "That is the standard deviation; the second value should be the variance β̃: leave "
        "the root out.": _posterior(None, lambda x0, x_t, b, a, p: (b * (1 - p) / (1 - a)).sqrt()),
        "The fraction in the variance is upside "
        "down: (1-ᾱ_{t-1}) is above, (1-ᾱ_t) below.": _posterior(
            None, lambda x0, x_t, b, a, p: b * (1 - a) / (1 - p)
        ),
        "In the weight of x0 the root is missing: it is √ᾱ_{t-1}, not ᾱ_{t-1}.": _posterior(
            lambda x0, x_t, b, a, p: (p * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "In the weight of x_t the root is missing: it is √α_t, not α_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + (1 - b) * (1 - p) * x_t) / (1 - a)
        ),
        "The mean uses ᾱ_t where ᾱ_{t-1} belongs: alpha_bar_prev above the line, alpha_bar "
        "below it.": _posterior(
            lambda x0, x_t, b, a, p: (a.sqrt() * b * x0 + (1 - b).sqrt() * (1 - a) * x_t) / (1 - a)
        ),
        "The mean is not divided by 1-ᾱ_t.": _posterior(
            lambda x0, x_t, b, a, p: p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t
        ),
        "In the weight of x0 it is √ᾱ_{t-1}, alpha_bar_prev; yours is √ᾱ_t.": _posterior(
            lambda x0, x_t, b, a, p: (a.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "Only at t = 0 it is wrong: ᾱ_{t-1} is ᾱ_0 there. Before the first step there is no "
        "noise at all, so it must be 1: put a one before the table, alpha_bars_prev.": _with_before(
            lambda bars: bars[0]
        ),
        "Only at t = 0 it is wrong: the index -1 gives the last ᾱ of the table. Before the "
        "first step there is no noise at all, so "
        "it must be 1: alpha_bars_prev begins with it.": _with_before(lambda bars: bars[-1]),
        "In the weight of x0 β_t is missing: it is √ᾱ_{t-1} β_t / (1-ᾱ_t).": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * x0 + (1 - b).sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "Brackets are missing in the mean: both "
        "terms are divided by 1-ᾱ_t, not one alone.": _posterior(
            lambda x0, x_t, b, a, p: p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t / (1 - a)
        ),
        "In the weight of x_t it is √α_t = √(1-β_t), not √β_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + b.sqrt() * (1 - p) * x_t) / (1 - a)
        ),
        "The two values are in "
        "the wrong order: mean first, then variance.": lambda x0, x_t, t, plan: (
            diffusion.q_posterior(x0, x_t, t, plan)[::-1]
        ),
        "In the weight of x_t it is √α_t = √(1-β_t), not √ᾱ_t.": _posterior(
            lambda x0, x_t, b, a, p: (p.sqrt() * b * x0 + a.sqrt() * (1 - p) * x_t) / (1 - a)
        ),
    },
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
    mistakes={
        "The noise is scaled by the variance; it should be the standard deviation: take the "
        "root.": _step(lambda m, v, n, b: m + v * n),
        "This is the mean alone: without new noise the samples lose their variety (see the "
        "Break it lab at the end).": _step(lambda m, v, n, b: m),
        "The noise is added in full size; scale it by the standard deviation, √β̃.": _step(
            lambda m, v, n, b: m + n
        ),
        "This uses √β_t; asked is the posterior's own variance β̃_t, which is 0 at t = 0. With "
        "β_t there would be noise left on the finished picture.": _step(
            lambda m, v, n, b: m + b.sqrt() * n
        ),
        "New noise is drawn "
        "inside. Use the noise that is handed in.": lambda x_t, t, plan, x0, noise: (
            diffusion.p_step(x_t, t, plan, x0, torch.randn_like(x0))
        ),
        "q_posterior gives the mean first, then the variance: yours are exchanged.": _step(
            lambda m, v, n, b: v + m.sqrt() * n
        ),
        "Brackets: the noise multiplies the standard "
        "deviation alone, and the mean is added.": _step(lambda m, v, n, b: (m + v.sqrt()) * n),
        "This takes the variance for its logarithm: its root is the standard deviation, with "
        "no exp.": _step(lambda m, v, n, b: m + (0.5 * v).exp() * n),
        "The step starts from x0; start from the posterior's mean, the first value of "
        "q_posterior.": lambda x_t, t, plan, x0, noise: (
            x0 + diffusion.q_posterior(x0, x_t, t, plan)[1].sqrt() * noise
        ),
        "The step starts from x_t; start from the posterior's mean, the first value of "
        "q_posterior.": lambda x_t, t, plan, x0, noise: (
            x_t + diffusion.q_posterior(x0, x_t, t, plan)[1].sqrt() * noise
        ),
        "That is the way forth: it noises x0 anew. The way back starts from the posterior's "
        "mean.": _again_forward,
        "The noise is subtracted. It would do no harm to the distribution, but the course "
        "compares pictures drawn with the same noise: use a plus.": _step(
            lambda m, v, n, b: m - v.sqrt() * n
        ),
    },
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


def _loss_at(change):
    """A wrong loss: change(x0, t, noise, schedule) gives x_t, the model's t, target's x0, noise."""

    def answer(model, x0, t, noise, plan, prediction="epsilon"):
        x_t, told, picture, drawn = change(x0, t, noise, plan)
        aim = diffusion.target(picture, drawn, t, plan, prediction)
        return _per_picture((model(x_t, told) - aim) ** 2)

    return answer


def _own_noise(x0, t, noise, plan):
    noise = torch.randn_like(x0)
    return diffusion.q_sample(x0, t, plan, noise), t, x0, noise


def _two_noises(x0, t, noise, plan):
    return diffusion.q_sample(x0, t, plan, torch.randn_like(x0)), t, x0, noise


def _noisy_for_target(x0, t, noise, plan):
    x_t = diffusion.q_sample(x0, t, plan, noise)
    return x_t, t, x_t, noise


def _as_picture(model, x0, t, noise, plan, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, plan, noise)
    guess = diffusion.predict_x0(x_t, t, plan, model(x_t, t), prediction)
    return _per_picture((guess - x0) ** 2)


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
    mistakes={
        "This is one number for the whole batch; asked is one for each picture, [B]: "
        ".flatten(1).mean(dim=1).": _loss(lambda o, a, x0, n: ((o - a) ** 2).mean()),
        "The mean over the batch; asked is the mean over each picture: "
        ".flatten(1).mean(dim=1).": _loss(lambda o, a, x0, n: ((o - a) ** 2).mean(dim=0)),
        "There is still a number for each pixel: take the mean over all dimensions but the "
        "first, .flatten(1).mean(dim=1).": _loss(lambda o, a, x0, n: (o - a) ** 2),
        "The mean over the colours alone; take it over all dimensions but the first: "
        ".flatten(1).mean(dim=1).": _loss(lambda o, a, x0, n: ((o - a) ** 2).mean(dim=1)),
        "A norm is the root of the sum of squares; asked is the mean of the squares.": _loss(
            lambda o, a, x0, n: (o - a).flatten(1).norm(dim=1)
        ),
        "The network gets t divided by the number of steps; hand it the t of each picture as "
        "it is.": _loss_at(
            lambda x0, t, noise, plan: (
                diffusion.q_sample(x0, t, plan, noise),
                t / len(plan),
                x0,
                noise,
            )
        ),
        "The squares are added up; take their mean, or the loss grows with the size of the "
        "pictures.": _loss(lambda o, a, x0, n: ((o - a) ** 2).flatten(1).sum(dim=1)),
        "This compares with the noise, whatever `prediction` says: use target(…), and hand "
        "`prediction` on to it.": _loss(lambda o, a, x0, n: _per_picture((o - n) ** 2)),
        "This compares with the picture, whatever `prediction` says: use target(…).": _loss(
            lambda o, a, x0, n: _per_picture((o - x0) ** 2)
        ),
        "The network gets the clean picture; "
        "it must get the noisy one, x_t = q_sample(…).": _loss_at(
            lambda x0, t, noise, plan: (x0, t, x0, noise)
        ),
        "The network is always told t = 0; hand it the t of each picture.": _loss_at(
            lambda x0, t, noise, plan: (
                diffusion.q_sample(x0, t, plan, noise),
                torch.zeros_like(t),
                x0,
                noise,
            )
        ),
        "New noise is drawn inside. Use the noise that is handed in, in q_sample and in "
        "target.": _loss_at(_own_noise),
        "x_t has another noise in it than the one that the network is asked for: hand the same "
        "`noise` to q_sample and to target.": _loss_at(_two_noises),
        "The network gets pure noise; it must get the noisy picture, x_t = q_sample(…).": _loss_at(
            lambda x0, t, noise, plan: (noise, t, x0, noise)
        ),
        "x_t is one step away from x0, from "
        "q_step; it must come from the jump, q_sample.": _loss_at(
            lambda x0, t, noise, plan: (diffusion.q_step(x0, t, plan, noise), t, x0, noise)
        ),
        "target(…) gets the noisy picture; it needs the clean one, x0.": _loss_at(
            _noisy_for_target
        ),
        "The output is turned into a picture and compared with x0; compare the output itself "
        "with target(…).": _as_picture,
        "The mean is taken before the square, so "
        "that errors up and down cancel: square first.": _loss(
            lambda o, a, x0, n: _per_picture(o - a) ** 2
        ),
        "The answer is compared with the network's "
        "input x_t; compare it with target(…).": _input_as_target,
        "The mean of the absolute difference; asked is the mean of its square.": _loss(
            lambda o, a, x0, n: _per_picture((o - a).abs())
        ),
        "The difference is not squared: errors up and down cancel each other.": _loss(
            lambda o, a, x0, n: _per_picture(o - a)
        ),
        "There is a root over it: the mean square is asked for, not its root.": _loss(
            lambda o, a, x0, n: _per_picture((o - a) ** 2).sqrt()
        ),
    },
)

EXERCISES = [Q_POSTERIOR, PREDICT_X0, P_STEP, LOSS]
