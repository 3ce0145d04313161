"""How good pictures are, in numbers: against one true picture, or as a set against real pictures.

Chapter 11 builds this module. Pictures are [B, 3, H, W] in [-1, 1]; what lies a little outside, as
samplers leave it, is clamped, as it would be when the picture is saved.
"""

import functools
import json
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn.data import data_folder


def check_pictures(x, name="pictures"):
    """The pictures in float32, clamped to [-1, 1]. Raises ValueError if they cannot be pictures."""
    if not isinstance(x, torch.Tensor) or x.dim() != 4 or not x.is_floating_point():
        what = f"{x.dtype} {list(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(
            f"{name}: {what} given, floats [B, C, H, W] in [-1, 1] expected: "
            "data.to_tensor makes them from PIL pictures"
        )
    if not len(x):
        raise ValueError(f"{name}: there is no picture, the shape is {list(x.shape)}")
    largest = x.detach().abs().max().item()
    if not largest <= 10:  # true for NaN too; a sampler that overshoots stays far below 10
        raise ValueError(
            f"{name}: values as large as {largest:.4g}, where [-1, 1] is expected: bytes become "
            "x / 127.5 - 1; what a sampler left outside, x.clamp(-1, 1)"
        )
    return x.detach().float().clamp(-1, 1)


def check_pair(a, b):
    """Both batches of pictures, once it is clear that each picture of one has its partner."""
    a, b = check_pictures(a, "first batch"), check_pictures(b, "second batch")
    if a.shape != b.shape:
        raise ValueError(
            f"shapes {list(a.shape)} and {list(b.shape)} differ: picture by picture, each needs a "
            "partner of its own size"
        )
    return a, b


# --- picture against picture ----------------------------------------------------------------------


def psnr(a, b):
    """Peak signal-to-noise ratio of each pair of pictures, in decibels: [B]. Equal ones: inf."""
    a, b = check_pair(a, b)
    error = (a - b).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(2**2 / error)  # the peak is 2: from -1 to 1


def ssim(a, b):
    """Structural similarity of each pair of pictures: [B], 1 for equal ones.

    Wang et al. 2004: a window of 11 × 11 pixels, Gaussian with σ = 1.5, wherever it fits in whole;
    the mean over places and colours. Raises ValueError for pictures smaller than the window.
    """
    a, b = check_pair(a, b)
    if min(a.shape[-2:]) < 11:
        raise ValueError(f"pictures of {list(a.shape[-2:])} pixels: SSIM's window needs 11 × 11")
    a, b = (a + 1) / 2, (b + 1) / 2  # brightness from 0 to 1: a negative mean has no meaning here
    offset = torch.arange(11, device=a.device) - 5.0
    weights = torch.exp(-offset.square() / (2 * 1.5**2))
    weights = weights / weights.sum()

    def mean(x):  # [B, C, H, W] → [B·C, 1, H-10, W-10]
        x = F.conv2d(x.flatten(0, 1)[:, None], weights.view(1, 1, 11, 1))
        return F.conv2d(x, weights.view(1, 1, 1, 11))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2  # they keep flat windows from dividing 0 by 0
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return (brightness * structure).view(len(a), -1).mean(dim=1)


# --- set against set ------------------------------------------------------------------------------


def check_sets(a, b, least=1):
    """Two samples as [N, D] and [M, D] in float64. Raises ValueError where they cannot be."""
    for name, x in (("first", a), ("second", b)):
        if not isinstance(x, torch.Tensor) or x.dim() < 2 or len(x) < least:
            what = list(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"{name} sample: {what} given, a tensor [{least} or more, …] expected")
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} sample: it holds NaN or infinity")
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"samples of {list(a.shape[1:])} and {list(b.shape[1:])} numbers each")
    # On the CPU first: Apple's GPUs know no float64.
    return a.detach().flatten(1).cpu().double(), b.detach().flatten(1).cpu().double()


def sliced_wasserstein(a, b, directions=256, seed=0):
    """Sliced Wasserstein-1 distance between two samples of the same size, [N, ...] each: a float.

    From a random direction a sample is a list of numbers: sort both lists, take the mean
    difference, then the mean over directions. Needs no network; chapter 02 explains it.
    """
    a, b = check_sets(a, b)
    if len(a) != len(b):
        raise ValueError(f"samples of {len(a)} and {len(b)}: sorted lists need the same length")
    generator = torch.Generator().manual_seed(seed)
    look = torch.randn(a.shape[1], directions, generator=generator, dtype=a.dtype)
    look = look / look.norm(dim=0)
    return ((a @ look).sort(dim=0).values - (b @ look).sort(dim=0).values).abs().mean().item()


def matrix_root(matrix):
    """The symmetric square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T  # below 0 is rounding


def frechet_distance(a, b):
    """Fréchet distance between the Gaussians of two samples of features, [N, D] and [M, D].

    |μ_a - μ_b|² + Tr(Σ_a + Σ_b - 2 √(Σ_a Σ_b)): a float, 0 or more (Heusel et al. 2017, where the
    features are Inception's and the distance is called FID). Small samples look farther apart than
    they are: compare only samples of equal size, and with the floor. With D or fewer pictures a
    warning says so. Raises ValueError for fewer than two.
    """
    a, b = check_sets(a, b, least=2)
    smallest, dim = min(len(a), len(b)), a.shape[1]
    if smallest <= dim:
        warnings.warn(
            f"{smallest} pictures leave some of {dim} features without a spread: this Fréchet "
            f"distance is mostly bias. Take more than {dim} of each, or kernel_distance",
            stacklevel=2,
        )
    cov_a, cov_b = a.T.cov().view(dim, dim), b.T.cov().view(dim, dim)
    # √(Σ_a Σ_b) has the trace of √(√Σ_a Σ_b √Σ_a), which is the sum of the singular values of
    # √Σ_a √Σ_b: symmetric roots only, and no root of a rounding error.
    cross = torch.linalg.svdvals(matrix_root(cov_a) @ matrix_root(cov_b)).sum()
    apart = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return max(0.0, (apart + cov_a.trace() + cov_b.trace() - 2 * cross).item())


def kernel_distance(a, b):
    """Squared MMD between two samples of features with the kernel (x·y/D + 1)³: a float.

    Bińkowski et al. 2018 (KID), unbiased: pairs of a picture with itself are left out. So its
    mean does not depend on the samples' sizes, and for equal distributions it is 0 on average,
    sometimes below and sometimes above. Raises ValueError for fewer than two pictures.
    """
    a, b = check_sets(a, b, least=2)

    def kernel_sum(x, y):  # a thousand rows at a time: all N × M numbers may not fit in memory
        return sum(((rows @ y.T / y.shape[1] + 1) ** 3).sum() for rows in x.split(1000))

    def mean_of_pairs(x):
        itself = ((x.square().sum(dim=1) / x.shape[1] + 1) ** 3).sum()
        return (kernel_sum(x, x) - itself) / (len(x) * (len(x) - 1))

    between = kernel_sum(a, b) / (len(a) * len(b))
    return (mean_of_pairs(a) + mean_of_pairs(b) - 2 * between).item()


# --- features -------------------------------------------------------------------------------------


class FeatureNet(nn.Module):
    """A small network whose last layer describes a picture: [B, 3, H, W] → features [B, D].

    Square pictures of 16 pixels or more; all are brought to 32 × 32. On real emoji each feature
    has mean 0 and variance 1. `tools/train_features.py` trains it; `load` gives those weights.
    channels, strides: of its 3 × 3 convolutions. heads: {name: labels}, see `answers`.
    """

    def __init__(self, channels, strides, heads):
        super().__init__()
        ends = zip([3, *channels], channels, strides)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, stride, padding=1) for i, o, stride in ends)
        self.register_buffer("mean", torch.zeros(channels[-1]))
        self.register_buffer("std", torch.ones(channels[-1]))
        self.labels = heads
        self.heads = nn.ModuleDict({k: nn.Linear(channels[-1], len(v)) for k, v in heads.items()})

    def forward(self, x):
        x = resize(x)
        for conv in self.convs:
            x = F.silu(conv(x))  # [B, 3, 32, 32] → [B, D, 4, 4]
        return (x.mean(dim=(2, 3)) - self.mean) / self.std

    def answers(self, features):
        """What it was trained to say, {name: [B, labels]}: logits, for "damage" the amounts."""
        return {name: head(features) for name, head in self.heads.items()}

    @classmethod
    def load(cls, folder=None):
        """The network of a folder, by default of data/checkpoints/features, on the CPU."""
        from safetensors.torch import load_file

        folder = Path(folder) if folder else data_folder("checkpoints") / "features"
        missing = [n for n in ("config.json", "model.safetensors") if not (folder / n).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder} lacks {' and '.join(missing)}: see its README.md")
        network = cls(**json.loads((folder / "config.json").read_text(encoding="utf8")))
        network.load_state_dict(load_file(folder / "model.safetensors"))  # float16 → float32
        return network.eval().requires_grad_(False)


def resize(x):
    """Square pictures [B, 3, H, H], checked, as [B, 3, 32, 32]: means of pixels, or in between."""
    x = check_pictures(x)
    if x.shape[1] != 3 or x.shape[2] != x.shape[3] or x.shape[2] < 16:
        raise ValueError(f"shape {list(x.shape)}: [B, 3, H, H] with 16 pixels or more is expected")
    if x.shape[2] < 32:
        return F.interpolate(x, size=32, mode="bilinear", align_corners=False)
    return F.interpolate(x, size=32, mode="area")


@functools.lru_cache(maxsize=1)
def shipped_features():
    """The course's own FeatureNet, read once."""
    return FeatureNet.load()


def extract_features(pictures, features=None, batch_size=256):
    """Features [N, D] of pictures, on the CPU. features: a function of a batch, or FeatureNet."""
    if features is None:
        features = shipped_features().to(pictures.device)
    with torch.no_grad():
        return torch.cat([features(batch).cpu() for batch in pictures.split(batch_size)])


class Distance(NamedTuple):
    """A distance with what it takes to read it; prints as one line."""

    distance: float  # generated against real
    floor: float  # real against other real, samples of the same size
    pictures: int  # in each sample

    def __str__(self):
        return f"{self.distance:.3g} (real against real: {self.floor:.3g}; {self.pictures} each)"


def distance_with_floor(generated, real, distance=frechet_distance, features=None, seed=0):
    """A distance between generated and real pictures, and the same between real and real.

    generated: [N, 3, H, W]. real: at least twice as many; two disjoint samples of N are drawn from
    them with the seed. The generated pictures are compared with the one, the other with the same
    one: so both numbers have the same bias, and a perfect generator reaches the floor.
    distance: `frechet_distance`, `kernel_distance` or `sliced_wasserstein`, or any function of two
    samples. features: what describes a batch of pictures: the course's FeatureNet if None,
    `torch.nn.Flatten()` for the bare pixels. Returns a `Distance`.
    """
    generated, real = check_pictures(generated, "generated"), check_pictures(real, "real")
    if generated.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"generated pictures are {list(generated.shape[1:])}, real ones "
            f"{list(real.shape[1:])}: load the real ones in the generated ones' size"
        )
    n = len(generated)
    if len(real) < 2 * n:
        raise ValueError(
            f"{n} generated pictures need {2 * n} real ones, two samples of {n}; there are "
            f"{len(real)}: give more real ones, or generated[:{len(real) // 2}]"
        )
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
    one, other = (real[order[part].to(real.device)] for part in (slice(n), slice(n, 2 * n)))
    drawn, one, other = (extract_features(x, features) for x in (generated, one, other))
    return Distance(distance(drawn, one), distance(other, one), n)
