"""The terms of the evidence lower bound, in nats for each picture (chapter 06 builds this module).

Beside them stand `DiagonalGaussian.sample` and `.kl` in `vae`. Source: Kingma and Welling 2014.
"""

import torch


def laplace_nll(x, mean, scale):
    """-log p(x) if each pixel is Laplace around `mean`: |x - mean|/b + log 2b, summed: [B].

    x, mean: [B, ...]. scale: b, a number above 0 or a tensor that fits x; it is how far off a
    pixel is on average. Raises ValueError for a scale of 0 or less.
    """
    scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
    if not bool((scale > 0).all()):
        raise ValueError(f"scale is {scale.min():.4g}, but an average error is above 0: try 0.3")
    nll = (x - mean).abs() / scale + (2 * scale).log()
    return nll.flatten(1).sum(dim=1)


def kl_gaussians(mean_q, logvar_q, mean_p, logvar_p):
    """KL(q ‖ p) of N(mean_q, exp(logvar_q)) to N(mean_p, exp(logvar_p)), summed: [B, ...] → [B].

    (log σ_p²/σ_q² + (σ_q² + (μ_q - μ_p)²)/σ_p² - 1)/2 for each number. Both may depend on the
    network: gradients reach all four. With mean 0 and logvar 0 for p it is `DiagonalGaussian.kl`.
    """
    log_ratio = logvar_q - logvar_p
    apart = (mean_q - mean_p) ** 2 * (-logvar_p).exp()
    return ((log_ratio.exp() + apart - 1 - log_ratio) / 2).flatten(1).sum(dim=1)
