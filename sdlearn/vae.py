"""The autoencoder of latent diffusion: pictures to small latents and back (chapter 07 builds it).

`AutoencoderKL` is diffusers' by configuration and by parameter names. As everywhere in Stable
Diffusion's autoencoder, ε is 1e-6 in all norms, and the one attention has one head.
"""

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn.configs import fill
from sdlearn.layers import Downsample2D, ResnetBlock2D, SpatialAttention, Upsample2D

DEFAULTS = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
# Settings that this autoencoder has in one form only; those beneath change nothing here.
ONLY = {"act_fn": "silu", "shift_factor": None, "latents_mean": None, "latents_std": None}
REMARKS = ("force_upcast",)
EPS = 1e-6
LARGE = 128  # latents with longer sides than this are encoded and decoded in tiles
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def complete(config):
    """A checked copy of the `config.json` of diffusers' AutoencoderKL (a dict), defaults filled in.

    Raises ValueError, naming it, for a setting that `AutoencoderKL` does not have.
    """
    kind = config.get("_class_name", "AutoencoderKL")
    if kind != "AutoencoderKL":
        raise ValueError(f"this is the configuration of a {kind}, not of an AutoencoderKL")
    full = fill(config, {"_class_name": kind, **DEFAULTS}, ONLY, REMARKS, "a VAE's")
    sizes, groups = full["block_out_channels"], full["norm_num_groups"]
    for name in ("down_block_types", "up_block_types"):
        known = DEFAULTS[name][0]
        if len(full[name]) != len(sizes) or set(full[name]) != {known}:
            raise ValueError(f"{name} = {full[name]!r}: {len(sizes)} times {known!r} is expected")
    for size in sizes:
        if not groups or size < 1 or size % groups:
            raise ValueError(
                f"{size} channels cannot be divided into norm_num_groups = {groups} groups"
            )
    if not full["scaling_factor"] > 0:
        raise ValueError(f"scaling_factor = {full['scaling_factor']!r} is not above 0")
    return full


class DiagonalGaussian:
    """A normal distribution for each number of the latents: N(mean, exp(logvar)), none correlated.

    moments: [B, 2C, H, W], means first. logvar is kept in [-30, 20], as exp overflows beyond.
    """

    def __init__(self, moments):
        self.mean, logvar = moments.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30, 20)
        self.std = (self.logvar / 2).exp()

    def sample(self, generator=None):
        """mean + std · noise: what is random stands apart, so gradients reach mean and std.

        Source: Kingma and Welling 2014, section 2.4. generator: as in `torch.randn`.
        """
        shape, like = self.mean.shape, {"device": self.mean.device, "dtype": self.mean.dtype}
        return self.mean + self.std * torch.randn(shape, generator=generator, **like)

    def mode(self):
        """The likeliest latents: the mean."""
        return self.mean

    def kl(self):
        """KL(N(mean, std²) ‖ N(0, 1)) in nats, summed over the latents of a picture: [B]."""
        kl = (self.mean**2 + self.std**2 - 1 - self.logvar) / 2
        return kl.flatten(1).sum(dim=1)


class Level(nn.Module):
    """One level of the autoencoder: residual blocks, then half or twice the size."""

    def __init__(self, channels_in, channels, layers, groups, resize=None):
        super().__init__()
        sizes = [channels_in] + layers * [channels]
        self.resnets = nn.ModuleList(
            ResnetBlock2D(a, b, groups=groups, eps=EPS) for a, b in zip(sizes, sizes[1:])
        )
        if resize == "smaller":
            self.downsamplers = nn.ModuleList([Downsample2D(channels, padding=0)])
        if resize == "larger":
            self.upsamplers = nn.ModuleList([Upsample2D(channels)])

    def forward(self, x):
        for children in self.children():  # in the order in which they were made
            for child in children:
                x = child(x)
        return x


class Middle(nn.Module):
    """The lowest level: block, attention over all places, block."""

    def __init__(self, channels, groups, attention=True):
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock2D(channels, channels, groups=groups, eps=EPS) for _ in range(2)
        )
        attentions = [SpatialAttention(channels, 1, channels, groups, EPS)] if attention else []
        self.attentions = nn.ModuleList(attentions)

    def forward(self, x):
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Encoder(nn.Module):
    """[B, 3, H, W] → moments [B, 2·latent_channels, H/f, W/f]."""

    def __init__(self, config):
        super().__init__()
        sizes, groups = config["block_out_channels"], config["norm_num_groups"]
        self.conv_in = nn.Conv2d(config["in_channels"], sizes[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for level, (before, size) in enumerate(zip([sizes[0], *sizes], sizes)):
            resize = "smaller" if level < len(sizes) - 1 else None
            self.down_blocks.append(Level(before, size, config["layers_per_block"], groups, resize))
        self.mid_block = Middle(sizes[-1], groups, config["mid_block_add_attention"])
        self.conv_norm_out = nn.GroupNorm(groups, sizes[-1], EPS)
        self.conv_out = nn.Conv2d(sizes[-1], 2 * config["latent_channels"], 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """[B, latent_channels, H/f, W/f] → [B, 3, H, W]; one residual block a level more."""

    def __init__(self, config):
        super().__init__()
        sizes, groups = config["block_out_channels"][::-1], config["norm_num_groups"]
        self.conv_in = nn.Conv2d(config["latent_channels"], sizes[0], 3, padding=1)
        self.mid_block = Middle(sizes[0], groups, config["mid_block_add_attention"])
        self.up_blocks = nn.ModuleList()
        for level, (before, size) in enumerate(zip([sizes[0], *sizes], sizes)):
            layers = config["layers_per_block"] + 1
            resize = "larger" if level < len(sizes) - 1 else None
            self.up_blocks.append(Level(before, size, layers, groups, resize))
        self.conv_norm_out = nn.GroupNorm(groups, sizes[-1], EPS)
        self.conv_out = nn.Conv2d(sizes[-1], config["out_channels"], 3, padding=1)

    def forward(self, z):
        z = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            z = level(z)
        return self.conv_out(F.silu(self.conv_norm_out(z)))


class AutoencoderKL(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] to latents [B, C, H/f, W/f] and back; f is `downscale`.

    encode(x) → `DiagonalGaussian`; decode(z) → pictures; ValueError for shapes that do not fit.
    Diffusion works on `scaling_factor` · latents, whose spread is about 1; decode takes them
    unscaled. Source: Rombach et al. 2022, section 3.1 and appendix G.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config = complete(config)
        channels = config["latent_channels"]
        self.scaling_factor = config["scaling_factor"]
        self.downscale = 2 ** (len(config["block_out_channels"]) - 1)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        quant, post = config["use_quant_conv"], config["use_post_quant_conv"]
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1) if quant else nn.Identity()
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if post else nn.Identity()
        self.register_load_state_dict_pre_hook(rename_old)

    def encode(self, x):
        check_shape(x, "x", self.config["in_channels"])
        for size in x.shape[2:]:
            lower, rest = size - size % self.downscale, size % self.downscale
            if rest or not size:
                sizes = f"{lower} or {lower + self.downscale}" if lower else f"{self.downscale}"
                raise ValueError(
                    f"size {size} is not a multiple of {self.downscale} (this VAE shrinks pictures "
                    f"{self.downscale} times): try {sizes}"
                )
        return DiagonalGaussian(self.quant_conv(self.encoder(x)))

    def decode(self, z):
        check_shape(z, "z", self.config["latent_channels"])
        return self.decoder(self.post_quant_conv(z))

    def forward(self, x):
        """Through the latents' means and back: [B, 3, H, W] → the same shape."""
        return self.decode(self.encode(x).mode())

    @classmethod
    def from_config(cls, config):
        """From the `config.json` of diffusers' AutoencoderKL, as a dict (checked by `complete`)."""
        return cls(config)


def check_shape(x, name, channels):
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(
            f"{name} has shape {list(x.shape)}; this VAE expects [B, {channels}, H, W]"
        )


def rename_old(module, state_dict, prefix, *_):
    """Files from before 2023 name the parts of the attention otherwise: rename them on loading."""
    for name in [n for n in state_dict if ".attentions." in n]:
        *path, part, kind = name.split(".")
        if part in OLD_NAMES:
            state_dict[".".join([*path, OLD_NAMES[part], kind])] = state_dict.pop(name)


# --- pictures larger than memory ------------------------------------------------------------------


def encode_tiled(vae, x, tile=64, overlap=16):
    """The latents' means of large pictures, tile by tile: [B, 3, H, W] → [B, C, H/f, W/f].

    tile, overlap: in places of the latents. Memory grows with the tile, not with the picture. Where
    tiles overlap they are cross-faded: each has seen its own surroundings only.
    """
    f, channels = vae.downscale, vae.config["latent_channels"]
    height, width = (size // f for size in x.shape[2:])
    latents = Mosaic(x.new_zeros(len(x), channels, height, width))
    for rows, columns in tiles(height, width, tile, overlap):
        part = x[:, :, times(rows, f), times(columns, f)]
        latents.add(vae.encode(part).mode(), rows, columns, overlap)
    return latents.total / latents.weight


def decode_tiled(vae, z, tile=64, overlap=16):
    """Large pictures from latents, tile by tile: [B, C, h, w] → [B, 3, h·f, w·f]."""
    f, channels = vae.downscale, vae.config["out_channels"]
    height, width = z.shape[2:]
    pictures = Mosaic(z.new_zeros(len(z), channels, height * f, width * f))
    for rows, columns in tiles(height, width, tile, overlap):
        part = vae.decode(z[:, :, rows, columns])
        pictures.add(part, times(rows, f), times(columns, f), overlap * f)
    return pictures.total / pictures.weight


class Mosaic:
    """Sums up tiles with weights that fall towards their edges."""

    def __init__(self, total):
        self.total, self.weight = total, total.new_zeros(total.shape[2:])

    def add(self, tile, rows, columns, overlap):
        fade = ramp(tile.shape[2], overlap, tile)[:, None] * ramp(tile.shape[3], overlap, tile)
        self.total[:, :, rows, columns] += tile * fade
        self.weight[rows, columns] += fade


def tiles(height, width, tile, overlap):
    """The rows and columns of each tile, as slices; neighbours share `overlap` places or more."""
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} that overlap by {overlap}: less than a tile is expected")

    def starts(length):
        count = max(1, -(-(length - overlap) // (tile - overlap)))
        return [i * max(0, length - tile) // max(1, count - 1) for i in range(count)]

    slices = [[slice(a, min(a + tile, n)) for a in starts(n)] for n in (height, width)]
    return [(rows, columns) for rows in slices[0] for columns in slices[1]]


def times(part, factor):
    return slice(part.start * factor, part.stop * factor)


def ramp(length, overlap, like):
    """Weights that rise over `overlap` places, stay at 1, and fall again: [length]."""
    place = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    return (torch.minimum(place, length - place) / max(overlap, 1)).clamp(max=1)
