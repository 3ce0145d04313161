"""Chapter 02: the exercise `reverse.loss`."""

import torch

from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch02.common import plan


def _loss_cases():
    weight = torch.ones(1, requires_grad=True)  # so that a lost gradient is noticed

    def model(x, t):
        """A stand-in for a network: smooth, different for each t."""
        return weight * torch.tanh(x * (1 + t.view(-1, *[1] * (x.dim() - 1)) / 50)) + 0.1

    x0, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    for prediction in diffusion.PREDICTIONS:
        t = torch.tensor([3, 40, 60])
        yield Case((model, x0.clone(), t, noise.clone(), plan(), prediction),
                   f"prediction is {prediction!r}")  # fmt: skip
    yield Case((model, torch.randn(3, 2), t, torch.randn(3, 2), plan()),
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
