"""What a student types into the exercises, chapter by chapter, in the order of the notebook.

By exercise: an answer that is wrong, some words of what is said to it, and one that is right.
"""


def put(answer, cell, earlier="..."):
    """An exercise's cell with this answer in place of the dots, or of an earlier answer."""
    return cell[: cell.index(f"\n    {earlier.strip()}")] + f"\n    {answer.strip()}"


ANSWERS = {
    "01": {
        "forward.q_step": (
            "return (1 - beta) * x_prev + beta * noise",
            "Both roots are missing",
            "return x_prev * (1 - beta) ** 0.5 + noise * beta**0.5",
        ),
        "forward.q_sample": (
            "return alpha_bar.sqrt() * x0 + (1 - alpha_bar) * noise",
            "√(1-ᾱ)",
            "return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise",
        ),
        "forward.snr": (
            "return schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)",
            "index with [t]",
            "return 1 / (1 / schedule.alphas_cumprod[t] - 1)",
        ),
        "forward.zero_terminal": (
            "return alphas_cumprod - alphas_cumprod[-1]",
            "ᾱ itself was shifted",
            """
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
""",
        ),
    },
    "06": {
        "elbo.sample": (
            "return torch.normal(self.mean, self.std, generator=generator)",
            "No gradient reaches",
            """
    noise = torch.randn(self.mean.shape, generator=generator).to(self.mean)
    return self.mean + self.std * noise
""",
        ),
        "elbo.kl": (
            "return 0.5 * (self.mean**2 + self.std**2 - 1 - self.logvar).sum()",
            "whole batch",
            "return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1)",
        ),
        "elbo.laplace_nll": (
            "return ((x - mean).abs() / scale).flatten(1).sum(1)",
            "log 2b",
            "return ((x - mean).abs() / scale + math.log(2 * scale)).flatten(1).sum(1)",
        ),
        "elbo.kl_gaussians": (
            """
    ratio = (logvar_q - logvar_p).exp()
    kl = ratio + (mean_q - mean_p) ** 2 / logvar_q.exp() - 1 - (logvar_q - logvar_p)
    return 0.5 * kl.flatten(1).sum(1)
""",
            "σ_p²",
            """
    var_q, var_p = logvar_q.exp(), logvar_p.exp()
    kl = logvar_p - logvar_q + (var_q + (mean_q - mean_p) ** 2) / var_p - 1
    return 0.5 * kl.flatten(1).sum(1)
""",
        ),
    },
    "07": {
        "vae.downsample": (
            "return self.conv(F.pad(x, (1, 0, 1, 0)))",
            "left and above",
            """
    if self.conv.padding == (0, 0):
        x = F.pad(x, [0, 1, 0, 1])
    return self.conv(x)
""",
        ),
        "vae.gradient_loss": (
            "return (a - b).diff(dim=2).abs().mean()",
            "dim=3",
            """
    loss = 0
    for dim in (2, 3):
        loss = loss + (a.diff(dim=dim) - b.diff(dim=dim)).abs().mean()
    return loss
""",
        ),
        "vae.encode": (
            "return self.vae.encode(x).mode() / self.vae.scaling_factor",
            "It is divided by the factor",
            "return self.vae.scaling_factor * self.vae.encode(x).mean",
        ),
        "vae.ramp": (
            "return torch.ones(length).to(like)",
            "All weights are 1",
            """
    i = torch.arange(length, dtype=like.dtype, device=like.device)
    rise = (i + 0.5) / max(overlap, 1)
    return torch.minimum(rise, rise.flip(0)).clamp(max=1)
""",
        ),
    },
    "08": {
        "text.merge": (
            """
    for i in range(len(symbols) - 1):
        if (symbols[i], symbols[i + 1]) == pair:
            symbols[i : i + 2] = ["".join(pair)]
    return symbols
""",
            "grows shorter",
            """
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out
""",
        ),
        "text.merge_all": (
            """
    for pair in ranks:
        symbols = merge(symbols, pair)
    return symbols
""",
            "after each merge",
            """
    while len(symbols) > 1:
        pairs = list(zip(symbols[:-1], symbols[1:]))
        best = min(pairs, key=lambda p: ranks.get(p, float("inf")))
        if best not in ranks:
            break
        symbols = merge(symbols, best)
    return symbols
""",
        ),
        "text.at_end": (
            "return hidden[:, -1]",
            "last place",
            """
    place = (ids == end).int().argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), place]
""",
        ),
        "text.contrastive_loss": (
            """
    logits = logit_scale * F.normalize(text, dim=1) @ F.normalize(image, dim=1).T
    target = torch.arange(len(text), device=text.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
""",
            ".exp()",
            """
    scale = logit_scale.exp() if isinstance(logit_scale, torch.Tensor) else math.exp(logit_scale)
    logits = scale * F.normalize(text, dim=1) @ F.normalize(image, dim=1).T
    target = torch.arange(len(text), device=text.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
""",
        ),
    },
    "09": {
        "guidance.attention_weights": (
            "return (q @ k.transpose(-2, -1)).softmax(dim=-1)",
            "√d is missing",
            "return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)",
        ),
        "guidance.guide": (
            """
    with_prompt, without = output.chunk(2)
    return without + guidance * (with_prompt - without)
""",
            "both answers exchanged",
            """
    empty, full = output.chunk(2)
    return (1 - guidance) * empty + guidance * full
""",
        ),
        "guidance.drop_captions": (
            """
    drop = torch.rand(context.shape, generator=generator) < share
    return torch.where(drop, empty, context)
""",
            "A caption is dropped as a whole",
            """
    chance = torch.rand(len(context), generator=generator, device=context.device)
    return torch.where((chance < share).view(-1, 1, 1), empty, context)
""",
        ),
        "guidance.word_map": (
            "return weights.mean(1)[:, :, tokens].mean(-1).view(-1, *size)",
            "what they get adds up",
            "return weights[..., tokens].sum(-1).mean(1).view(-1, *size)",
        ),
    },
    "10": {
        "pipeline.guided": (
            """
    context = self.text_encoder(self.tokenizer(prompts + len(prompts) * negative_prompts))

    def model(x_t, t):
        x = x_t if channels is None else torch.cat([x_t, channels], dim=1)
        output = self.unet(torch.cat([x, x]), torch.cat([t, t]), context)
        without, with_prompt = output.chunk(2)
        return without + guidance * (with_prompt - without)

    return model
""",
            "The halves are exchanged",
            """
    negative = list(negative_prompts)
    if len(negative) == 1:
        negative = negative * len(prompts)
    tokens = self.tokenizer(negative + list(prompts))
    context = self.text_encoder(tokens.to(self.unet.conv_in.weight.device))

    def model(x_t, t):
        x = x_t if channels is None else torch.cat([x_t, channels], dim=1)
        if guidance == 1:
            return self.unet(x, t, context[len(prompts) :])
        output = self.unet(torch.cat([x, x]), torch.cat([t, t]), context)
        without, with_prompt = output.chunk(2)
        return without + guidance * (with_prompt - without)

    return model
""",
        ),
        "pipeline.latent_size": (
            """
    width, height = size if isinstance(size, tuple) else (size, size)
    f = self.vae.downscale
    return width // f, height // f
""",
            "wrong order",
            """
    f = self.vae.downscale
    if size is None:
        size = f * self.unet.config["sample_size"]
    width, height = (size, size) if isinstance(size, int) else size
    step = f * 2 ** (len(self.unet.config["block_out_channels"]) - 1)
    for side in (width, height):
        if not isinstance(side, int) or side < step or side % step:
            raise ValueError(f"{side} is no multiple of {step}")
    return height // f, width // f
""",
        ),
        "pipeline.check_seeds": (
            "return [seed] * count",
            "the same seed",
            """
    import random

    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    seeds = list(seed) if isinstance(seed, (list, tuple)) else [seed]
    for one in seeds:
        if type(one) is not int or not 0 <= one < 2**63:
            raise ValueError(f"{one!r} is no seed")
    if len(seeds) == 1:
        return [seeds[0] + i for i in range(count)]
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} pictures")
    return seeds
""",
        ),
        "pipeline.skipped": (
            "return int(steps * strength)",
            "the ones left out are asked for",
            """
    if not 0 < strength <= 1 or int(steps * strength) == 0:
        raise ValueError(f"strength {strength} leaves no step of {steps}")
    return steps - int(steps * strength)
""",
        ),
    },
    "11": {
        "judging.frechet_distance": (
            """
    apart = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvalsh(cov_a @ cov_b).clamp(min=0).sqrt().sum()
    return (apart + cov_a.trace() + cov_b.trace() - 2 * roots).item()
""",
            "symmetric",
            """
    apart = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()
    return (apart + cov_a.trace() + cov_b.trace() - 2 * roots).item()
""",
        ),
        "judging.kernel_distance": (
            """
    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    return (kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()).item()
""",
            "Pairs of a picture with itself",
            """
    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def pairs(x):
        k, n = kernel(x, x), len(x)
        return (k.sum() - k.diagonal().sum()) / (n * (n - 1))

    return (pairs(a) + pairs(b) - 2 * kernel(a, b).mean()).item()
""",
        ),
        "judging.manifold_shares": (
            """
    def covered(x, sample):
        radius = torch.cdist(sample, sample).sort(dim=1).values[:, k]
        return (torch.cdist(x, sample) <= radius).any(dim=1)

    return wilson(covered(a, b)), wilson(covered(b, a))
""",
            "All points are kept",
            """
    def covered(x, sample):
        exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
        radius = torch.cdist(sample, sample, **exact).sort(dim=1).values[:, k]
        kept = radius <= torch.quantile(radius, keep)
        return (torch.cdist(x, sample[kept], **exact) <= radius[kept]).any(dim=1)

    return wilson(covered(a, b)), wilson(covered(b, a))
""",
        ),
        "judging.wilson": (
            """
    n, p = right.numel(), right.float().mean().item()
    half = 1.96 * (p * (1 - p) / n) ** 0.5
    return Share(p, p - half, p + half, n)
""",
            "Wilson",
            """
    n, z = right.numel(), 1.96
    p = right.double().mean().item()
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    return Share(p, middle - half, middle + half, n)
""",
        ),
    },
}
