"""Samplers: from pure noise to a picture in a few steps (chapter 05 builds this module).

All of them work on y = x_t/√ᾱ_t = x_0 + σ·noise, with σ = √((1-ᾱ_t)/ᾱ_t): a picture with noise of
standard deviation σ on top. That is x_t, only scaled: y = x_t·√(1+σ²). A sampler then is a rule
for going from σ to the next, smaller σ, given `denoise(y, i)`: the network's guess at x_0 in step
i. `levels` is the list of the pairs (σ, next σ); the last next σ is 0 (not with DDIM). The results
are those of diffusers' schedulers of the same names, oddities included (they are marked as such).
"""

import math

import numpy as np
import torch

from sdlearn.diffusion import PREDICTIONS, check_output, randn_like
from sdlearn.schedule import NoiseSchedule

SPACINGS = ("leading", "trailing", "linspace")


def ddpm(denoise, y, levels, generator=None):
    """One step back at a time (Ho et al. 2020, equations 6 and 7), or many steps at once.

    The posterior q(y_next | y, x_0): the share (σ_next/σ)² of y's noise stays, fresh noise makes
    up for the rest.
    """
    for i, (sigma, sigma_next) in enumerate(levels):
        x0 = denoise(y, i)
        share = (sigma_next / sigma) ** 2
        y = x0 + share * (y - x0)
        if sigma_next > 0:  # noise on the finished picture would stay there
            y = y + sigma_next * math.sqrt(1 - share) * randn_like(y, generator)
    return y


def ddim(denoise, y, levels, generator=None):
    """The noise stays, only less of it (Song et al. 2021, equation 12 with σ_t = 0).

    Told in x_t = √ᾱ_t·y, as in the paper. Where T is no multiple of the steps, diffusers' stride
    ends beside the next timestep: x_t is then taken for what it is not quite, and so it is here.
    """
    x = y / math.hypot(1, levels[0][0])
    for i, (sigma, sigma_next) in enumerate(levels):
        y = x * math.hypot(1, sigma)  # √(1+σ²) is 1/√ᾱ
        x0 = denoise(y, i)
        noise = (y - x0) / sigma
        y = x0 + sigma_next * noise
        x = y / math.hypot(1, sigma_next)
    return y


def euler(denoise, y, levels, generator=None):
    """The same step, seen as an equation of motion: dy/dσ = noise (Karras et al. 2022).

    Euler's method follows the slope where it stands, all the way to the next σ.
    """
    for i, (sigma, sigma_next) in enumerate(levels):
        slope = (y - denoise(y, i)) / sigma
        y = y + (sigma_next - sigma) * slope
    return y


def euler_a(denoise, y, levels, generator=None):
    """Euler ancestral (Crowson's k-diffusion): step too far down, then noise back up to the next σ.

    Down to σ_down, up by σ_up: σ_down² + σ_up² = σ_next². It is DDPM's step once more.
    """
    for i, (sigma, sigma_next) in enumerate(levels):
        sigma_up = sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2)
        sigma_down = sigma_next**2 / sigma
        slope = (y - denoise(y, i)) / sigma
        y = y + (sigma_down - sigma) * slope
        if sigma_next > 0:
            y = y + sigma_up * randn_like(y, generator)
    return y


def heun(denoise, y, levels, generator=None):
    """Euler, then once more with the mean of both ends' slopes (Karras et al. 2022, algorithm 1).

    Asks the model twice for each step but the last, where there is no noise to take a slope of.
    """
    for i, (sigma, sigma_next) in enumerate(levels):
        slope = (y - denoise(y, i)) / sigma
        if sigma_next > 0:
            ahead = y + (sigma_next - sigma) * slope
            slope_ahead = (ahead - denoise(ahead, i + 1, trial=True)) / sigma_next
            slope = (slope + slope_ahead) / 2
        y = y + (sigma_next - sigma) * slope
    return y


def dpmpp_2m(denoise, y, levels, generator=None):
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): DDIM that looks where x_0 is heading.

    Over λ = -log σ the guess at x_0 moves nearly in a line: carry it on, half of this step's h
    ahead. The first step has no guess before it, the last one an infinite h: both are DDIM's.
    """
    h_before, x0_before = 0, None
    for i, (sigma, sigma_next) in enumerate(levels):
        x0 = denoise(y, i)
        h = math.log(sigma / sigma_next) if sigma_next > 0 else math.inf
        middle = x0
        if h_before > 0 and h < math.inf:
            middle = x0 + h / (2 * h_before) * (x0 - x0_before)
        y = middle + sigma_next / sigma * (y - middle)
        h_before, x0_before = h, x0
    return y


SAMPLERS = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "euler_a": euler_a,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_karras": dpmpp_2m,
}


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(choices)}")


def _check_whole(name, value, low, high, why):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} {value!r} is not a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is not in {low} … {high}: {why}")


def timesteps(schedule, steps, spacing="leading", offset=1):
    """Which of the T timesteps are visited (Lin et al. 2024, table 2). LongTensor [steps], falling.

    schedule: a NoiseSchedule, or T. steps: 1 … T. spacing: "leading" counts up from `offset` in
    whole strides of T//steps (Stable Diffusion's; may end well below T - 1), "trailing" counts down
    from T - 1, "linspace" takes both ends. offset: used by "leading" alone, and only as far as
    there is room: with steps = T every timestep is visited, whatever the offset.
    Raises TypeError, ValueError.
    """
    T = schedule if isinstance(schedule, int) else len(schedule)
    _check_choice("spacing", spacing, SPACINGS)
    _check_whole("steps", steps, 1, T, f"the schedule has {T} timesteps")
    _check_whole("offset", offset, 0, T, f"the schedule has {T} timesteps")
    if spacing == "leading":
        t = np.arange(steps)[::-1] * (T // steps)
        t = t + min(offset, T - 1 - t[0])
    elif spacing == "trailing":
        t = np.arange(T, 0, -T / steps)[:steps].round() - 1
    else:
        t = np.linspace(0, T - 1, steps)[::-1].round()
    return torch.from_numpy(t.astype(np.int64))


def sigma_table(schedule, floor=2**-24):
    """σ = √((1-ᾱ)/ᾱ) of every timestep: float64 numpy array [T].

    floor: what a last ᾱ of 0 (zero terminal SNR) counts as, lest σ be infinite; as in diffusers.
    """
    alphas_cumprod = schedule.alphas_cumprod.cpu()
    alphas_cumprod = alphas_cumprod.where(alphas_cumprod > 0, floor)
    return ((1 - alphas_cumprod) / alphas_cumprod).sqrt().double().numpy()


def karras_sigmas(sigma_min, sigma_max, steps, rho=7):
    """Noise levels that crowd where σ is small (Karras et al. 2022, equation 5): array [steps]."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (high + np.linspace(0, 1, steps) * (low - high)) ** rho


def _is_cosine(schedule):
    cosine = NoiseSchedule.cosine(len(schedule))
    betas = schedule.betas.cpu().to(cosine.betas.dtype)
    return any(torch.allclose(betas, s.betas) for s in (cosine, cosine.with_zero_terminal_snr()))


def noise_levels(schedule, sampler="dpmpp_2m", steps=25, spacing="leading", offset=1):
    """A sampler's way down: the timesteps [N] that the model is told, and N pairs (σ, next σ).

    Arguments as in `sample`. The timesteps are integers, but for Euler's and Heun's "linspace":
    there they fall between two timesteps, are floats, and σ is interpolated.
    """
    _check_choice("sampler", sampler, SAMPLERS)
    T, t = len(schedule), timesteps(schedule, steps, spacing, offset).numpy()
    sigmas = sigma_table(schedule, floor=2**-48 if sampler in ("ddpm", "ddim") else 2**-24)
    if sampler == "dpmpp_2m_karras":
        sigma = karras_sigmas(sigmas[0], sigmas[-1], steps)
        # Which timestep a level falls on is diffusers' choice: logarithms in single precision,
        # rounded; for the cosine schedule cut off.
        t = np.interp(np.log(sigma), np.log(sigmas.astype(np.float32)), np.arange(T))
        t = (np.floor(t) if _is_cosine(schedule) else t.round()).astype(np.int64)
    elif sampler == "dpmpp_2m":
        if spacing != "trailing":  # one more, and the lowest of them left out
            t = timesteps(schedule, min(steps + 1, T), spacing, offset).numpy()[:steps]
        sigma = sigmas[t]
    elif sampler in ("ddpm", "ddim"):
        sigma = sigmas[t]
    else:
        if spacing == "linspace":
            t = np.linspace(0, T - 1, steps, dtype=np.float32)[::-1].copy()
        elif spacing == "leading":  # no room: diffusers repeats the top, which moves nothing
            t = np.minimum(np.arange(steps)[::-1] * (T // steps) + offset, T - 1)
        sigma = np.interp(t, np.arange(T), sigmas)
    sigma = np.minimum.accumulate(sigma)  # the floor may be above the ᾱ before it
    sigma_next = np.append(sigma[1:], 0.0)
    if sampler == "ddim":  # a stride of T//steps down, which is the next t where steps divides T
        sigma_next = sigmas[np.maximum(t - T // steps, 0)]
    return torch.from_numpy(t), list(zip(sigma.tolist(), sigma_next.tolist()))


def denoised(y, sigma, output, prediction="epsilon"):
    """The guess at x_0 that a network's output implies, y = x_0 + σ·noise being what it saw."""
    if prediction == "epsilon":
        return y - sigma * output
    if prediction == "v_prediction":
        return y / (1 + sigma**2) - sigma / math.hypot(1, sigma) * output
    return output


def _check_input(x, schedule, prediction):
    _check_choice("prediction", prediction, PREDICTIONS)
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"x is {kind}, but noise is a float tensor: begin with torch.randn(B, …)")
    if x.dim() < 2:
        raise ValueError(
            f"x has shape {list(x.shape)}, but its first dimension counts pictures: [B, C, H, W]"
        )
    if prediction == "epsilon" and bool(schedule.alphas_cumprod[-1] == 0):
        raise ValueError(
            "this schedule has zero terminal SNR (ᾱ = 0 at its last timestep): x_t is pure noise "
            "there, and knowing the noise ('epsilon') tells nothing about the picture. Train and "
            "sample with prediction='v_prediction', or take a schedule without zero terminal SNR"
        )


def _check_start(x, start, skip, steps, mask):
    if start is None and (skip or mask is not None):
        raise ValueError("skip and mask need the pictures to begin with: give them as start")
    _check_whole("skip", skip, 0, steps - 1, f"there are {steps} steps, and one must be left")
    if start is not None and start.shape != x.shape:
        raise ValueError(f"start is {list(start.shape)}, the noise {list(x.shape)}: must be equal")
    sizes = () if mask is None else zip(mask.shape[::-1], x.shape[::-1])
    if any(size not in (1, right) for size, right in sizes):
        raise ValueError(f"a mask {list(mask.shape)} does not fit to pictures {list(x.shape)}")


@torch.no_grad()
def sample(
    model,
    x,
    schedule,
    sampler="dpmpp_2m",
    steps=25,
    prediction="epsilon",
    spacing="leading",
    offset=1,
    generator=None,
    callback=None,
    start=None,
    skip=0,
    mask=None,
):
    """Turn noise into pictures. Returns a tensor like `x`; nothing is clipped on the way.

    model: called as model(x_t, t) with x_t like x and t [B] (int64; float32 for "euler", "euler_a"
        and "heun" with spacing "linspace"); returns a tensor like x_t. "heun" calls it
        2·steps - 1 times, the others `steps` times. No gradients are kept.
    x: [B, ...] standard normal noise; the sampler scales it as it needs. Half precision is kept
        for the model alone: the steps are computed in float32.
    schedule: the NoiseSchedule that the model was trained with, prediction: what it predicts:
        "epsilon", "v_prediction" or "sample".
    sampler: "ddpm", "ddim", "euler", "euler_a", "heun", "dpmpp_2m" or "dpmpp_2m_karras".
    steps, spacing, offset: see `timesteps` ("dpmpp_2m_karras" has levels of its own, spacing and
        offset do not matter to it).
    generator: of "ddpm" and "euler_a": a torch.Generator, or a list of B of them, with which each
        picture is the same as if it were drawn alone.
    callback: called in every step, after the model, as callback(i, t, x_t, x0_hat): i = 0 …
        steps - 1, t the timestep as a number, x_t [B, ...] what the model saw, x0_hat [B, ...] its
        guess at the picture. What it returns is ignored.
    start: [B, ...] pictures to begin with in place of pure noise: the first `skip` steps are left
        out, and x is the noise on top of them (Meng et al. 2022; 0 <= skip < steps).
    mask: of `start`, 1 where a new picture is to be drawn, 0 where it is known; as x, or [B, 1,
        ...]. There the network's guess is not asked.
    Raises TypeError or ValueError for arguments that make no sense and for a model that answers
    with something else than a finite tensor of x_t's shape (finite: looked at in step 0 only).
    """
    _check_input(x, schedule, prediction)
    t, levels = noise_levels(schedule, sampler, steps, spacing, offset)
    _check_start(x, start, skip, steps, mask)
    t, levels = t[skip:], levels[skip:]
    times, t = t.tolist(), t.to(x.device)  # numbers for the callback, a tensor for the model

    def denoise(y, i, trial=False):
        sigma = levels[i][0]
        x_t = (y / math.hypot(1, sigma)).to(x.dtype)
        output = check_output(model(x_t, t[i].expand(len(x))), x_t)
        if i == 0 and not bool(output.isfinite().all()):
            raise ValueError(f"the model returned NaN or infinity for pure noise at t = {times[0]}")
        x0 = denoised(y, sigma, output.to(y.dtype), prediction)
        if mask is not None:
            x0 = start + mask * (x0 - start)
        if callback is not None and not trial:
            callback(i, times[i], x_t, x0.to(x.dtype))
        return x0

    sigma = levels[0][0]
    if sampler not in ("euler", "euler_a", "heun") or spacing == "leading":
        sigma = math.hypot(1, sigma)  # so that x_t is x; else only its noise share, as in diffusers
    y = x.to(torch.promote_types(x.dtype, torch.float32)) * sigma
    if start is not None:
        y = start + x.to(y.dtype) * levels[0][0]
    y = SAMPLERS[sampler](denoise, y, levels, generator)
    return (y / math.hypot(1, levels[-1][1])).to(x.dtype)
