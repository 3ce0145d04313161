"""The DDPM forward process, its reversal and the training loss (chapters 01 and 02).

Throughout: x0 [B, C, H, W] in [-1, 1], t [B] integers in 0 … T-1, noise standard normal like x0.
Nothing here needs pictures: any [B, ...] will do, such as the points [B, 2] of chapter 02.
Formulas are those of Ho et al. 2020 (DDPM); v is that of Salimans & Ho 2022.
"""

import torch

from sdlearn.schedule import extract

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def check_prediction(prediction):
    """Raises ValueError, with the names that exist, for one that does not."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction {prediction!r} is not one of {', '.join(PREDICTIONS)}")


def randn_like(x, generator=None):
    """Standard normal noise like `x` [B, ...], drawn on the generator's device.

    generator: None, a torch.Generator, or a list of B of them, one for each picture: then a
    picture's noise does not depend on the batch it is in. Raises ValueError on a wrong number.
    """
    if isinstance(generator, (list, tuple)):
        if len(generator) != len(x):
            raise ValueError(
                f"{len(generator)} generators for {len(x)} pictures: give one for each"
            )
        return torch.cat([randn_like(x[i : i + 1], g) for i, g in enumerate(generator)])
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


def q_step(x_prev, t, schedule, noise):
    """One step of the forward Markov chain, x_{t-1} → x_t (DDPM, equation 2)."""
    beta = extract(schedule.betas, t, x_prev)
    return (1 - beta).sqrt() * x_prev + beta.sqrt() * noise


def q_sample(x0, t, schedule, noise):
    """Straight from x_0 to x_t, t + 1 steps at once (DDPM, equation 4)."""
    alpha_bar = extract(schedule.alphas_cumprod, t, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def q_posterior(x0, x_t, t, schedule):
    """Where x_{t-1} was, if x_0 and x_t are known: mean and variance β̃ (DDPM, equations 6, 7).

    Returns mean like x0, and variance [B, 1, 1, 1]. At t = 0 the mean is x_0, the variance 0.
    """
    alpha_bars = schedule.alphas_cumprod
    alpha_bar = extract(alpha_bars, t, x0)
    alpha_bar_prev = extract(torch.cat([torch.ones_like(alpha_bars[:1]), alpha_bars[:-1]]), t, x0)
    beta = extract(schedule.betas, t, x0)
    mean = (alpha_bar_prev.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - alpha_bar_prev) * x_t) / (
        1 - alpha_bar
    )
    return mean, beta * (1 - alpha_bar_prev) / (1 - alpha_bar)


def p_step(x_t, t, schedule, x0, noise):
    """One step back, x_t → x_{t-1}, given a guess at x_0 (DDPM, equation 11, with Σ = β̃).

    Samples the posterior as if the guess were right. β̃ is 0 at t = 0: no noise is added there.
    """
    mean, variance = q_posterior(x0, x_t, t, schedule)
    return mean + variance.sqrt() * noise


def predict_x0(x_t, t, schedule, output, prediction="epsilon"):
    """The clean picture that a network's output implies; x_0 itself if the output is right.

    prediction: what the output is: "epsilon" (the noise), "v_prediction" or "sample" (x_0).
    """
    check_prediction(prediction)
    alpha_bar = extract(schedule.alphas_cumprod, t, x_t)
    if prediction == "epsilon":
        return (x_t - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
    if prediction == "v_prediction":
        return alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * output
    return output


def target(x0, noise, t, schedule, prediction="epsilon"):
    """What the network should answer for x_t = q_sample(x0, t, schedule, noise)."""
    check_prediction(prediction)
    if prediction == "epsilon":
        return noise
    if prediction == "v_prediction":
        alpha_bar = extract(schedule.alphas_cumprod, t, x0)
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0
    return x0


def check_output(output, x_t):
    """The network's answer, once it is clear that it is a tensor of x_t's shape."""
    if not isinstance(output, torch.Tensor):
        hint = ": hand over model(x, t).sample" if hasattr(output, "sample") else ""
        raise TypeError(f"the model returned a {type(output).__name__}, not a tensor{hint}")
    if output.shape != x_t.shape:
        raise ValueError(
            f"the model returned shape {list(output.shape)} for an input of {list(x_t.shape)}: "
            "it must answer with one number for each number of x_t"
        )
    return output


def min_snr_weight(t, schedule, gamma, prediction="epsilon"):
    """Each picture's loss weight [B], which caps the SNR at gamma (Hang et al. 2023, section 3)."""
    check_prediction(prediction)
    snr = schedule.snr(t)
    if prediction == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1 if prediction == "v_prediction" else 1)


def loss_per_picture(model, x0, t, noise, schedule, prediction="epsilon", context=None):
    """Noise the pictures, let the model answer, compare with the target: mean square error [B].

    model: called as model(x_t, t), or model(x_t, t, context) if a context is given; returns a
    tensor like x_t. Raises TypeError or ValueError when it does not.
    """
    x_t = q_sample(x0, t, schedule, noise)
    output = check_output(model(x_t, t) if context is None else model(x_t, t, context), x_t)
    wide = torch.promote_types(x0.dtype, torch.float32)  # half precision would lose small errors
    error = output.to(wide) - target(x0, noise, t, schedule, prediction).to(wide)
    return error.square().flatten(1).mean(dim=1)


def training_loss(
    model, x0, schedule, prediction="epsilon", context=None, snr_gamma=None, generator=None
):
    """The simple loss (DDPM, equation 14) at timesteps and noise drawn at random. A scalar.

    model: as in `loss_per_picture`. snr_gamma: a number (5 is usual) turns on min-SNR weights.
    """
    device = x0.device if generator is None else generator.device
    t = torch.randint(len(schedule), (len(x0),), generator=generator, device=device).to(x0.device)
    noise = randn_like(x0, generator)
    loss = loss_per_picture(model, x0, t, noise, schedule, prediction, context)
    if snr_gamma is not None:
        loss = loss * min_snr_weight(t, schedule, snr_gamma, prediction)
    return loss.mean()
