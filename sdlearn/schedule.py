"""Noise schedules: how much noise each of the T steps adds (chapter 01 builds this module)."""

import math

import torch


def extract(table, t, x):
    """Entry `t` of a schedule's table for each picture, shaped to multiply the batch `x`.

    table: [T] floats. t: [B] integers in 0 … T-1 (one for each picture) or a single one for all.
    x: [B, ...]. Returns [B, 1, 1, ...] (as many dimensions as `x`) in x's dtype, on x's device.
    Raises TypeError if `t` is no integer tensor or `x` no float one, ValueError if `t` has the
    wrong length, IndexError if it leaves the table (checked on the CPU only: on a GPU the check
    would stall the queue).
    """
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}, but pictures and noise are floats: use x.float()")
    t = torch.as_tensor(t, device=x.device)
    if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
        raise TypeError(
            f"t has dtype {t.dtype}, but a timestep is an index: use integers, e.g. t.long()"
        )
    if t.dim() > 1 or (t.dim() == 1 and len(t) not in (1, len(x))):
        raise ValueError(
            f"t has shape {list(t.shape)}, but x holds {len(x)} pictures: give one timestep for "
            f"each of them, shape [{len(x)}]"
        )
    if t.device.type == "cpu" and t.numel() and not 0 <= int(t.min()) <= int(t.max()) < len(table):
        raise IndexError(
            f"t reaches from {int(t.min())} to {int(t.max())}, but this schedule has the timesteps "
            f"0 … {len(table) - 1}"
        )
    return table.to(x.device)[t.reshape(-1)].to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def snr(schedule, t):
    """Signal-to-noise ratio ᾱ/(1-ᾱ) at the timesteps `t` [B]."""
    alphas_cumprod = schedule.alphas_cumprod.to(t.device)[t]
    return alphas_cumprod / (1 - alphas_cumprod)


def zero_terminal(alphas_cumprod):
    """ᾱ [T] stretched so that its last entry is 0 and its first stays (Lin et al. 2024, alg. 1).

    √ᾱ, the share of the picture, is shifted to end at 0 and scaled to begin where it did.
    """
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2


class NoiseSchedule:
    """The variances β_t of the forward process, and what follows from them (DDPM, section 2).

    betas: [T], each in (0, 1]. Attributes, all [T] and of betas' dtype: `betas`,
    `alphas` = 1 - β, `alphas_cumprod` = ᾱ (the product of all alphas up to t).
    """

    def __init__(self, betas):
        betas = torch.as_tensor(betas)
        if betas.dim() != 1 or len(betas) == 0 or not betas.is_floating_point():
            raise ValueError(
                f"betas must be a list of T numbers, not shape {list(betas.shape)}, {betas.dtype}"
            )
        if not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(
                f"every beta must be in (0, 1], but they reach from {float(betas.min()):.4g} to "
                f"{float(betas.max()):.4g}: a beta is the share of noise in one step's variance"
            )
        self.betas = betas
        self.alphas = 1 - betas
        self.alphas_cumprod = self.alphas.cumprod(dim=0)

    def __len__(self):
        return len(self.betas)

    def __repr__(self):
        left = float(self.alphas_cumprod[-1].sqrt())
        return f"NoiseSchedule(T={len(self)}, √ᾱ at the last step {left:.3g})"

    @classmethod
    def linear(cls, T=1000, beta_start=1e-4, beta_end=0.02):
        """β grows evenly (DDPM, Ho et al. 2020, section 4)."""
        return cls(torch.linspace(beta_start, beta_end, T))

    @classmethod
    def scaled_linear(cls, T=1000, beta_start=0.00085, beta_end=0.012):
        """√β grows evenly: Stable Diffusion's schedule."""
        return cls(torch.linspace(beta_start**0.5, beta_end**0.5, T) ** 2)

    @classmethod
    def cosine(cls, T=1000):
        """ᾱ falls as a squared cosine (Nichol & Dhariwal 2021, equation 17), β at most 0.999."""
        f = [math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(T + 1)]
        return cls(torch.tensor([min(1 - f[i + 1] / f[i], 0.999) for i in range(T)]))

    def with_zero_terminal_snr(self):
        """The same schedule, stretched so that nothing of the picture is left at the last step."""
        alphas_cumprod = zero_terminal(self.alphas_cumprod)
        alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
        return NoiseSchedule(1 - alphas)

    def snr(self, t=None):
        """Signal-to-noise ratio at the timesteps `t` (all of them when None)."""
        return snr(self, torch.arange(len(self), device=self.betas.device) if t is None else t)

    def to(self, device_or_dtype):
        """The same schedule on another device or in another dtype."""
        return NoiseSchedule(self.betas.to(device_or_dtype))
