"""One step of AdamW, written out (chapter 04 builds it; `train` uses torch's own, which is equal).

Kingma & Ba 2015, algorithm 1, with the decay of Loshchilov & Hutter 2019, algorithm 2.
"""


def adamw_step(p, grad, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    """One step of AdamW for one tensor p. Returns p, m, v as they are after it; changes nothing.

    grad, m, v: shaped like p. m and v are the running means of the gradient and of its square,
    zeros before the first step. step: 1 in the first step, 2 in the second, and so on.
    Raises ValueError for a step below 1.
    """
    if step < 1:
        raise ValueError(f"step is {step}, but the first step is 1: at 0 the mean is divided by 0")
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat = m / (1 - beta1**step)  # m began at 0, so it is too small at first; likewise v
    v_hat = v / (1 - beta2**step)
    p = p - lr * weight_decay * p  # apart from the gradient: that is the W
    return p - lr * m_hat / (v_hat.sqrt() + eps), m, v
