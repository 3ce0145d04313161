"""Chapter 04: the exercise `training.adamw_step`."""

import torch

from sdlearn import optimiser
from sdlearn.exercises.bank import Case, Exercise


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
