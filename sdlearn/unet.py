"""The U-Net: from a noisy picture and a timestep to an answer of the same shape (chapter 03).

One class for diffusers' `UNet2DModel` and `UNet2DConditionModel` (Stable Diffusion 1.x and 2.x),
with their configurations and parameter names.
"""

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn.layers import (
    Downsample2D,
    ResnetBlock2D,
    SpatialAttention,
    TimestepEmbedding,
    Transformer2DModel,
    Upsample2D,
    timestep_embedding,
)
from sdlearn.unet_config import complete


class NoAttention(nn.Module):
    """Stands where a level has no attention."""

    def forward(self, x, context=None):
        return x


class Parts:
    """What the blocks of a configuration are made of; level 0 is the widest picture."""

    def __init__(self, config):
        self.config = config
        self.groups, self.eps = config["norm_num_groups"], config["norm_eps"]
        self.temb_channels = config["time_embedding_dim"] or 4 * config["block_out_channels"][0]

    def at(self, name, level):
        """A setting that may be a list with one for each level."""
        value = self.config[name]
        return value[level] if isinstance(value, (list, tuple)) else value

    def resnet(self, channels_in, channels):
        dropout = self.config["dropout"]
        return ResnetBlock2D(
            channels_in, channels, self.temb_channels, self.groups, self.eps, dropout
        )

    def downsample(self, channels):
        return Downsample2D(channels, self.config["downsample_padding"])

    def attention(self, kind, level, channels):
        """The attention of a block of this kind; attention_head_dim means the number of heads in
        cross-attention and their size in plain attention, as in diffusers."""
        head = self.at("attention_head_dim", level) or channels
        if kind.startswith("CrossAttn") or kind == "UNetMidBlock2DCrossAttn":
            dim = self.config["cross_attention_dim"]
            depth = self.at("transformer_layers_per_block", level)
            linear = self.config["use_linear_projection"]
            return Transformer2DModel(
                channels, dim, head, channels // head, depth, self.groups, linear=linear
            )
        if kind.startswith("Attn"):
            return SpatialAttention(channels, channels // head, head, self.groups, self.eps)
        if kind == "UNetMidBlock2D" and self.config["add_attention"]:
            groups = self.config["attn_norm_num_groups"] or self.groups
            return SpatialAttention(channels, channels // head, head, groups, self.eps)
        return NoAttention()


class DownBlock(nn.Module):
    """One level on the way down: blocks, each with its attention, then half the size."""

    def __init__(self, parts, level, channels_in, channels, layers, smaller):
        super().__init__()
        kind = parts.config["down_block_types"][level]
        sizes = [channels_in] + layers * [channels]
        self.resnets = nn.ModuleList(parts.resnet(a, b) for a, b in zip(sizes, sizes[1:]))
        self.attentions = nn.ModuleList(
            parts.attention(kind, level, channels) for _ in range(layers)
        )
        self.downsamplers = nn.ModuleList([parts.downsample(channels)] if smaller else [])

    def forward(self, x, temb, context):
        """Returns x, and what it was after each block, for the skips."""
        stages = []
        for resnet, attention in zip(self.resnets, self.attentions):
            x = attention(resnet(x, temb), context)
            stages.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            stages.append(x)
        return x, stages


class MidBlock(nn.Module):
    """The lowest level: block, attention, block."""

    def __init__(self, parts):
        super().__init__()
        kind, channels = parts.config["mid_block_type"], parts.config["block_out_channels"][-1]
        self.resnets = nn.ModuleList(parts.resnet(channels, channels) for _ in range(2))
        self.attentions = nn.ModuleList([parts.attention(kind, -1, channels)])

    def forward(self, x, temb, context):
        x = self.attentions[0](self.resnets[0](x, temb), context)
        return self.resnets[1](x, temb)


class UpBlock(nn.Module):
    """One level on the way up: blocks that also get the stages of the way down, twice the size."""

    def __init__(self, parts, level, channels_in, channels, skips, larger):
        super().__init__()
        kind = parts.config["up_block_types"][-1 - level]
        sizes = [channels_in] + (len(skips) - 1) * [channels]
        self.resnets = nn.ModuleList(parts.resnet(a + s, channels) for a, s in zip(sizes, skips))
        self.attentions = nn.ModuleList(parts.attention(kind, level, channels) for _ in skips)
        self.upsamplers = nn.ModuleList([Upsample2D(channels)] if larger else [])

    def forward(self, x, temb, context, stages):
        """Takes one from the end of the list `stages` for each block."""
        for resnet, attention in zip(self.resnets, self.attentions):
            x = torch.cat([x, stages.pop()], dim=1)  # what it has become, then what it was
            x = attention(resnet(x, temb), context)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


def down_path(parts):
    """The blocks of the way down, and the channels of each stage that the way up will want."""
    sizes = parts.config["block_out_channels"]
    blocks, skips = nn.ModuleList(), [sizes[0]]
    for level, (before, size) in enumerate(zip([sizes[0], *sizes], sizes)):
        layers, smaller = parts.at("layers_per_block", level), level < len(sizes) - 1
        blocks.append(DownBlock(parts, level, before, size, layers, smaller))
        skips += [size] * (layers + smaller)
    return blocks, skips


def up_path(parts, skips):
    """The blocks of the way up, with one more residual block a level: each takes a stage."""
    sizes = parts.config["block_out_channels"]
    blocks, before = nn.ModuleList(), sizes[-1]
    for level in reversed(range(len(sizes))):
        taken = [skips.pop() for _ in range(parts.at("layers_per_block", level) + 1)]
        blocks.append(UpBlock(parts, level, before, sizes[level], taken, larger=level > 0))
        before = sizes[level]
    return blocks


class UNet(nn.Module):
    """Down to a small picture of many channels and up again, with skips across.

    forward(x [B, C, H, W], t [B] or a single one, context [B, L, D] or None) → [B, C_out, H, W];
    ValueError for inputs that do not fit. `config`: the configuration, defaults filled in.
    Source: Ronneberger et al. 2015; Ho et al. 2020, appendix B; Rombach et al. 2022.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config = complete(config)
        parts, first = Parts(config), config["block_out_channels"][0]
        self.time_embedding = TimestepEmbedding(first, parts.temb_channels)
        self.conv_in = nn.Conv2d(config["in_channels"], first, 3, padding=1)
        self.down_blocks, skips = down_path(parts)
        self.mid_block = MidBlock(parts)
        self.up_blocks = up_path(parts, skips)
        self.conv_norm_out = nn.GroupNorm(parts.groups, first, parts.eps)
        self.conv_out = nn.Conv2d(first, config["out_channels"], 3, padding=1)

    def forward(self, x, t, context=None):
        t = check_input(self.config, x, t, context)
        temb = self.time_embedding(waves(self.config, t).to(x.dtype))
        stages = [self.conv_in(x)]
        x = stages[0]
        for block in self.down_blocks:
            x, more = block(x, temb, context)
            stages += more
        x = self.mid_block(x, temb, context)
        for block in self.up_blocks:
            x = block(x, temb, context, stages)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    @classmethod
    def from_config(cls, config):
        """From the `config.json` of diffusers' classes, as a dict (checked by `complete`)."""
        return cls(config)


def waves(config, t):
    """The timesteps [B] as the waves that a configuration asks for: [B, C]."""
    order = config["flip_sin_to_cos"], config["freq_shift"]
    return timestep_embedding(t, config["block_out_channels"][0], *order)


def check_input(config, x, t, context):
    """The timesteps as a tensor [B]; ValueError for what does not fit together."""
    halvings = len(config["block_out_channels"]) - 1
    if x.dim() != 4 or x.shape[1] != config["in_channels"]:
        raise ValueError(
            f"x has shape {list(x.shape)}; this U-Net takes [B, {config['in_channels']}, H, W]"
        )
    for size in x.shape[2:]:
        lower, rest = size - size % 2**halvings, size % 2**halvings
        if rest or not size:
            sizes = f"{lower} or {lower + 2**halvings}" if lower else f"{2**halvings}"
            raise ValueError(
                f"size {size} is not a multiple of {2**halvings} (this U-Net halves pictures "
                f"{halvings} times): try {sizes}"
            )
    t = torch.as_tensor(t, device=x.device)
    if t.dim() > 1 or t.numel() not in (1, len(x)):
        raise ValueError(f"t has shape {list(t.shape)}; [{len(x)}], one a picture, is expected")
    dim, shape = config["cross_attention_dim"], None if context is None else list(context.shape)
    if dim and (shape is None or len(shape) != 3 or shape[::2] != [len(x), dim]):
        got = "none was given" if shape is None else f"it has shape {shape}"
        raise ValueError(f"this U-Net needs a context [{len(x)}, L, {dim}], but {got}")
    if dim is None and context is not None:
        raise ValueError("this U-Net has no cross-attention, so it takes no context")
    return t.expand(len(x))
