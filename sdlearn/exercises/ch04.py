"""The exercises of chapter 04, training on images."""

import math

import numpy as np
import torch
from PIL import Image
from torch import nn

from sdlearn import data, optimiser, train
from sdlearn.exercises.bank import Case, Exercise


def _pictures(count, width, height, low=0, high=255):
    """Random PIL pictures, the darkest and the brightest values included."""
    pixels = np.random.randint(low, high + 1, (count, height, width, 3), dtype=np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = low, high
    return [Image.fromarray(one) for one in pixels]


def _to_tensor_cases():
    yield Case((_pictures(2, 4, 4),), "there are two pictures of 4 × 4")
    yield Case((_pictures(3, 5, 3),), "pictures are wider than high")
    yield Case((_pictures(1, 4, 4),), "there is a single picture")
    yield Case((_pictures(2, 4, 4, 60, 200),), "pictures have neither black nor white")


def _bytes(pictures):
    return torch.from_numpy(np.stack([np.asarray(one) for one in pictures]))  # [N, H, W, 3]


def _scaled(change):
    """A wrong to_tensor: change(bytes as floats [N, 3, H, W]) in place of x / 127.5 - 1."""
    return lambda pictures: change(_bytes(pictures).permute(0, 3, 1, 2).float())


def _in_bytes(pictures):
    x = _bytes(pictures).permute(0, 3, 1, 2)
    return (x * 2 - 255).float() / 255


TO_TENSOR = Exercise(
    "training.to_tensor",
    reference=data.to_tensor,
    cases=_to_tensor_cases,
    changes=("dataset",),  # Pillow notes in a picture that it has been read
    hints=[
        "Four things: a numpy array of each picture, all in one tensor, colours to the second "
        "place, and bytes to [-1, 1].",
        "torch.from_numpy(np.stack([np.asarray(p) for p in pictures])) is [N, H, W, 3]; "
        ".permute(0, 3, 1, 2) moves the colours.",
        "Bytes 0 … 255 become .float() / 127.5 - 1.",
    ],
    mistakes={
        "These are still bytes, 0 to 255: divide by 127.5 and subtract 1.": _scaled(lambda x: x),
        "This is [0, 1]. The noise has mean 0, and so should the pictures: [-1, 1], "
        "that is x / 127.5 - 1.": _scaled(lambda x: x / 255),
        "This is [-0.5, 0.5]: from bytes to [-1, 1] it is x / 127.5 - 1.": _scaled(
            lambda x: x / 255 - 0.5
        ),
        "This stretches each picture or batch to its own darkest and brightest value. Byte 0 "
        "is -1 and byte 255 is 1, whatever a picture holds: x / 127.5 - 1.": _scaled(
            lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1
        ),
        "128 where 127.5 belongs: 255 should become exactly 1.": _scaled(lambda x: x / 128 - 1),
        "x / 127.5 is [0, 2]: subtract 1.": _scaled(lambda x: x / 127.5),
        "The sign: white, 255, should be 1 and black, 0, should be -1.": _scaled(
            lambda x: 1 - x / 127.5
        ),
        "This scales each batch by its own mean and spread. A picture must not depend on its "
        "neighbours, and the way back to bytes must be known: x / 127.5 - 1.": _scaled(
            lambda x: (x - x.mean()) / x.std()
        ),
        "The colours come last, [N, H, W, 3]; torch "
        "wants [N, 3, H, W]: .permute(0, 3, 1, 2).": lambda pictures: (
            _bytes(pictures).float() / 127.5 - 1
        ),
        "The shape is right, but view or reshape only renames the places, and pixels end up "
        "where they do not belong. Move the axis: .permute(0, 3, 1, 2).": lambda pictures: (
            _bytes(pictures).float().reshape(len(pictures), 3, *pictures[0].size[::-1]) / 127.5 - 1
        ),
        "Rows and columns are exchanged: .permute(0, "
        "3, 1, 2) keeps rows before columns.": lambda pictures: (
            data.to_tensor(pictures).transpose(2, 3).contiguous()
        ),
        "A byte cannot hold more than 255: calculating before .float() wraps around. First "
        ".float(), then the arithmetic.": _in_bytes,
        "Red and blue are exchanged: PIL's order is red, green, blue already.": lambda pictures: (
            data.to_tensor(pictures).flip(1)
        ),
        "This is float64: .float() gives "
        "the float32 that the network calculates in.": lambda pictures: data.to_tensor(
            pictures
        ).double(),
        "This is the first picture only: stack all of them, [N, 3, H, W].": lambda pictures: (
            data.to_tensor(pictures)[0]
        ),
        "This is a list of tensors: np.stack "
        "or torch.stack makes them one, [N, 3, H, W].": lambda pictures: list(
            data.to_tensor(pictures)
        ),
    },
)


def _adamw_cases():
    def tensors():
        return torch.randn(3, 2), torch.randn(3, 2) * torch.tensor([0.01, 10.0])

    p, grad = tensors()
    zero = torch.zeros(3, 2)
    yield Case((p, grad, zero.clone(), zero.clone(), 1, 0.1, (0.9, 0.99), 1e-8, 0.0),
               "it is the first step, without weight decay")  # fmt: skip
    p, grad = tensors()
    yield Case((p, grad, torch.randn(3, 2), torch.rand(3, 2) + 0.1, 5, 0.1, (0.8, 0.9), 0.05, 0.0),
               "it is the fifth step and ε is large")  # fmt: skip
    p, grad = tensors()
    yield Case((p, grad, torch.randn(3, 2), torch.rand(3, 2) + 0.1, 3, 0.2, (0.8, 0.9), 1e-8, 0.5),
               "there is weight decay")  # fmt: skip


def _adamw(**change):
    """A wrong adamw_step: functions in place of some of its lines."""

    def answer(p, grad, m, v, step, lr, betas, eps, decay):
        a, b = betas
        grad = change.get("grad", lambda g, p, d: g)(grad, p, decay)
        m = change.get("m", lambda m, g, a: a * m + (1 - a) * g)(m, grad, a)
        v = change.get("v", lambda v, g, b: b * v + (1 - b) * g**2)(v, grad, b)
        m_hat = change.get("m_hat", lambda m, a, n: m / (1 - a**n))(m, a, step)
        v_hat = change.get("v_hat", lambda v, b, n: v / (1 - b**n))(v, b, step)
        p = change.get("decay", lambda p, lr, d: p - lr * d * p)(p, lr, decay)
        move = change.get("move", lambda m, v, e: m / (v.sqrt() + e))(m_hat, v_hat, eps)
        p = change.get("p", lambda p, lr, move: p - lr * move)(p, lr, move)
        p = change.get("after", lambda p, lr, d: p)(p, lr, decay)
        return change.get("give", lambda p, m, v, m_hat, v_hat: (p, m, v))(p, m, v, m_hat, v_hat)

    return answer


ADAMW_STEP = Exercise(
    "training.adamw_step",
    reference=optimiser.adamw_step,
    cases=_adamw_cases,
    returns=("p", "m", "v"),
    hints=[
        "Five lines, in the order of the formulas: m, v, their corrected versions, the decay, the "
        "step.",
        "m = beta1 * m + (1 - beta1) * grad, and v likewise with grad**2. The corrected ones are "
        "divided by 1 - beta1**step and 1 - beta2**step.",
        "p = p - lr * weight_decay * p, then p - lr * m_hat / (v_hat.sqrt() + eps). Return p, m, "
        "v: the running means as they were before the correction.",
    ],
    mistakes={
        "The bias correction of m is missing: divide by 1 - β1^step. Without it the first "
        "steps are too short.": _adamw(m_hat=lambda m, a, n: m),
        "The bias correction of v is missing: divide by 1 - β2^step. Without it the first "
        "steps are too long.": _adamw(v_hat=lambda v, b, n: v),
        "Both bias corrections are missing: m̂ = m/(1 - β1^step), v̂ = v/(1 - β2^step).": _adamw(
            m_hat=lambda m, a, n: m, v_hat=lambda v, b, n: v
        ),
        "The bias is corrected as in the first step, in every step: it is β to the power of "
        "`step`.": _adamw(m_hat=lambda m, a, n: m / (1 - a), v_hat=lambda v, b, n: v / (1 - b)),
        "The power in the bias correction is step "
        "+ 1; `step` is 1 in the first step already.": _adamw(
            m_hat=lambda m, a, n: m / (1 - a ** (n + 1)),
            v_hat=lambda v, b, n: v / (1 - b ** (n + 1)),
        ),
        "The bias correction multiplies; divide by 1 - β^step.": _adamw(
            m_hat=lambda m, a, n: m * (1 - a**n),
            v_hat=lambda v, b, n: v * (1 - b**n),
        ),
        "The power is missing in the bias correction: 1 - β**step, not 1 - β·step.": _adamw(
            m_hat=lambda m, a, n: m / (1 - a * n), v_hat=lambda v, b, n: v / (1 - b * n)
        ),
        "m and v are exchanged in the return: p, m, v.": _adamw(
            give=lambda p, m, v, m_hat, v_hat: (p, v, m)
        ),
        "The weight decay acts on the weights as they are before the step: decay first, then "
        "the step.": _adamw(decay=lambda p, lr, d: p, after=lambda p, lr, d: p - lr * d * p),
        "The learning rate is missing in the step: p - lr · m̂ / (√v̂ + ε).": _adamw(
            p=lambda p, lr, move: p - move
        ),
        "v is the running mean of the squared gradient: grad**2, not its absolute value.": _adamw(
            v=lambda v, g, b: b * v + (1 - b) * g.abs()
        ),
        "The corrected means are returned. Keep m and v themselves: the next step corrects "
        "again.": _adamw(give=lambda p, m, v, m_hat, v_hat: (p, m_hat, v_hat)),
        "The weight decay is added to the gradient: that is plain Adam with an L2 penalty, "
        "where large gradients hide it. In AdamW it acts on p alone: p - lr · λ · p.": _adamw(
            grad=lambda g, p, d: g + d * p, decay=lambda p, lr, d: p
        ),
        "The weight decay is missing: p - lr · λ · p before the step.": _adamw(
            decay=lambda p, lr, d: p
        ),
        "The weight decay lacks the learning rate: p - lr · λ · p.": _adamw(
            decay=lambda p, lr, d: p - d * p
        ),
        "The weight decay has the wrong sign, and makes the weights grow: p - lr · λ · p.": _adamw(
            decay=lambda p, lr, d: p + lr * d * p
        ),
        "The root is missing: divide by √v̂ + ε, not by v̂ + ε.": _adamw(
            move=lambda m, v, e: m / (v + e)
        ),
        "ε stands under the root; it is added after it: √v̂ + ε.": _adamw(
            move=lambda m, v, e: m / (v + e).sqrt()
        ),
        "ε is missing: divide by √v̂ + ε.": _adamw(move=lambda m, v, e: m / v.sqrt()),
        "v is the running mean of the squared gradient: grad**2, not grad.": _adamw(
            v=lambda v, g, b: b * v + (1 - b) * g, move=lambda m, v, e: m / (v.abs().sqrt() + e)
        ),
        "β and 1 - β are exchanged in m and v: β is the share that is kept, 1 - β what the new "
        "gradient adds.": _adamw(
            m=lambda m, g, a: (1 - a) * m + a * g,
            v=lambda v, g, b: (1 - b) * v + b * g**2,
        ),
        "The new gradient is added in full; it counts 1 - β, or the mean would grow to many "
        "times its size.": _adamw(m=lambda m, g, a: a * m + g, v=lambda v, g, b: b * v + g**2),
        "The step goes uphill: the gradient points to where the loss grows, so subtract.": _adamw(
            p=lambda p, lr, move: p + lr * move
        ),
        "The step uses the newest gradient; it should "
        "use its running mean m̂.": lambda p, grad, m, v, step, lr, betas, eps, decay: _adamw(
            move=lambda m_hat, v_hat, e: grad / (v_hat.sqrt() + e)
        )(p, grad, m, v, step, lr, betas, eps, decay),
        "betas holds β1 first, for m, then β2, "
        "for v: yours are exchanged.": lambda p, grad, m, v, step, lr, betas, eps, decay: (
            optimiser.adamw_step(p, grad, m, v, step, lr, betas[::-1], eps, decay)
        ),
    },
)


def _rate_cases():
    yield Case((0, 100, 1.0, 10), "it is the first step")
    yield Case((4, 100, 2.0, 10), "the rate is still rising")
    yield Case((9, 100, 1.0, 10), "it is the last step of the warm-up")
    yield Case((10, 100, 1.0, 10), "the warm-up is just over")
    yield Case((55, 100, 2.0, 10), "half of the way down is done")
    yield Case((80, 100, 1.0, 10), "the rate is falling")
    yield Case((0, 50, 1.0, 0), "there is no warm-up")
    yield Case((49, 50, 1.0, 0), "it is the last step")


def _rate(rise=None, fall=None):
    """A wrong learning_rate: rise(step, warmup) and fall(step, steps, warmup), for lr = 1."""

    def answer(step, steps, lr, warmup):
        if step < warmup:
            return lr * (rise(step, warmup) if rise else (step + 1) / (warmup + 1))
        if fall:
            return lr * fall(step, steps, warmup)
        return train.learning_rate(step, steps, lr, warmup)

    return answer


def _cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


LEARNING_RATE = Exercise(
    "training.learning_rate",
    reference=train.learning_rate,
    cases=_rate_cases,
    hints=[
        "Two cases: if step < warmup the line, else the cosine.",
        "In the line, step 0 gives lr / (warmup + 1), so that even the first step moves.",
        "For the cosine: which share of the way down is done, 0 at step = warmup and 1 at steps? "
        "(step - warmup) / (steps - warmup). The rate is lr * (1 + math.cos(math.pi * share)) / 2.",
    ],
    mistakes={
        "The first step has the rate 0, so it does nothing: count from 1, "
        "(step + 1) / (warmup + 1).": _rate(lambda s, w: s / w),
        "The line ends a step early: it should reach lr in step `warmup`, where the cosine "
        "begins, so divide by warmup + 1.": _rate(lambda s, w: (s + 1) / w),
        "The first step has the rate 0, so it does nothing: it is step + 1 above the line.": _rate(
            lambda s, w: s / (w + 1)
        ),
        "There is no warm-up: for step < warmup the rate rises in a line.": _rate(lambda s, w: 1.0),
        "There is no line, the cosine begins "
        "at step 0: that is a curve without warm-up.": lambda step, steps, lr, warmup: (
            lr * _cosine(step / steps)
        ),
        "The cosine counts from step 0; it begins where the warm-up ends: "
        "(step - warmup) / (steps - warmup).": _rate(fall=lambda s, n, w: _cosine(s / n)),
        "The cosine would come to 0 too late: it has steps - warmup steps, not all of them.": _rate(
            fall=lambda s, n, w: _cosine((s - w) / n)
        ),
        "The rate falls in a line; asked is half a wave of the cosine.": _rate(
            fall=lambda s, n, w: 1 - (s - w) / (n - w)
        ),
        "After the warm-up the rate stays as it is; it should fall to 0.": _rate(
            fall=lambda s, n, w: 1.0
        ),
        "This is a quarter of a wave, which ends "
        "with a steep fall: (1 + cos(π · share)) / 2.": _rate(
            fall=lambda s, n, w: math.cos(math.pi / 2 * (s - w) / (n - w))
        ),
        "π is missing in the cosine.": _rate(
            fall=lambda s, n, w: (1 + math.cos((s - w) / (n - w))) / 2
        ),
        "The cosine alone goes from 1 to -1: add 1 and halve.": _rate(
            fall=lambda s, n, w: math.cos(math.pi * (s - w) / (n - w))
        ),
        "Halve it: 1 + cos goes from 2 to 0.": _rate(
            fall=lambda s, n, w: 2 * _cosine((s - w) / (n - w))
        ),
        "The rate rises after the warm-up: it is 1 + cos, not 1 - cos.": _rate(
            fall=lambda s, n, w: 1 - _cosine((s - w) / (n - w))
        ),
        "The curve is right for lr = "
        "1 but does not depend on lr: multiply by it.": lambda step, steps, lr, warmup: (
            train.learning_rate(step, steps, 1.0, warmup)
        ),
        "The line depends on lr, the cosine does not: multiply it by lr "
        "too.": lambda step, steps, lr, warmup: train.learning_rate(
            step, steps, lr if step < warmup else 1.0, warmup
        ),
        "The last step has the rate 0, so it does nothing: divide by steps - warmup, not by "
        "one less.": _rate(fall=lambda s, n, w: _cosine((s - w) / (n - 1 - w))),
    },
)


def _nets():
    """An average and a model, with weights that differ."""
    ema, model = nn.Linear(3, 2).requires_grad_(False), nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.data += 1.0
    return ema, model


def _ema_cases():
    for step, decay, label in (
        (0, 0.9, "it is step 0"),
        (20, 0.999, "step 20, where the average is still young"),
        (5000, 0.9, "step 5000"),
    ):
        yield Case((*_nets(), step, decay), label)


def _weights(answer, ema, model, step, decay):
    """The weights of both after the answer; None if it has changed neither."""

    def flat(net):
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    before = flat(ema), flat(model)
    answer(ema, model, step, decay)
    after = flat(ema), flat(model)
    return None if all(map(torch.equal, before, after)) else after


def _ramp(decay, step):
    return min(decay, (1 + step) / (10 + step))


def _average(new, decay=_ramp):
    """A wrong update_ema: new(average, value, decay), and the decay from (decay, step)."""

    @torch.no_grad()
    def answer(ema, model, step, given):
        for average, value in zip(ema.parameters(), model.parameters()):
            average.copy_(new(average, value, decay(given, step)))

    return answer


@torch.no_grad()
def _model_moves(ema, model, step, decay):
    train.update_ema(model, ema, step, decay)


@torch.no_grad()
def _ema_and_model(ema, model, step, decay):
    train.update_ema(ema, model, step, decay)
    for average, value in zip(ema.parameters(), model.parameters()):
        value.copy_(average)


@torch.no_grad()
def _written_to_model(ema, model, step, decay):
    for average, value in zip(ema.parameters(), model.parameters()):
        value.lerp_(average, _ramp(decay, step))


@torch.no_grad()
def _bias_forgotten(ema, model, step, decay):
    ema.weight.lerp_(model.weight, 1 - _ramp(decay, step))


def _right(average, value, decay):
    return decay * average + (1 - decay) * value


UPDATE_EMA = Exercise(
    "training.update_ema",
    reference=train.update_ema,
    cases=_ema_cases,
    run=_weights,
    returns=("average weights", "model's weights"),
    changes=("ema", "model"),
    hints=[
        "The new average is decay · average + (1 - decay) · value.",
        "average = … would only give another tensor this name. A method with an underscore at its "
        "end changes the tensor itself: mul_, add_, copy_, lerp_.",
        "average.lerp_(value, 1 - decay) goes the share 1 - decay of the way to value.",
    ],
    mistakes={
        "Nothing has changed. average = … gives the name to a new tensor, and the module keeps "
        "the old one: change it in place, "
        "with average.copy_(…) or average.lerp_(…).": lambda ema, model, step, decay: None,
        "The shares are exchanged: the average keeps `decay` of itself and takes 1 - decay of "
        "the new value.": _average(lambda a, v, d: (1 - d) * a + d * v),
        "The new value is added in full: it counts 1 - decay.": _average(lambda a, v, d: d * a + v),
        "The new value is missing: the average shrinks to 0.": _average(lambda a, v, d: d * a),
        "The average is the model's weights themselves now: it should move towards them by "
        "the share 1 - decay only.": _average(lambda a, v, d: v),
        "1 - decay of the value is added, but nothing of the old average taken away: multiply "
        "it by decay.": _average(lambda a, v, d: a + (1 - d) * v),
        "The sign: average + (1 - decay) · (value - average) moves towards the value.": _average(
            lambda a, v, d: a - (1 - d) * (v - a)
        ),
        "The decay is the same from the first step on: take the smaller one of `decay` and (1 + "
        "step) / (10 + step), min(…), or the random weights "
        "of the start stay in the average for long.": _average(_right, lambda decay, step: decay),
        "The decay is always (1 + step) / (10 + step); "
        "it should grow no further than `decay`.": _average(
            _right, lambda decay, step: (1 + step) / (10 + step)
        ),
        "This is the plain mean of both: the average should keep `decay` of itself.": _average(
            lambda a, v, d: (a + v) / 2
        ),
        "The model moves towards the average: leave "
        "the model as it is and move the average.": _model_moves,
        "The average is right, but the model has been changed as well: it must go on training "
        "from its own weights.": _ema_and_model,
        "The new average is written into the model: write it into `average`.": _written_to_model,
        "Only the weight matrix moves; the "
        "biases have to as well: all of .parameters().": _bias_forgotten,
    },
)

EXERCISES = [TO_TENSOR, ADAMW_STEP, LEARNING_RATE, UPDATE_EMA]
