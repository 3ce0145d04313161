"""The blocks of the U-Net: time embedding, residual block, attention (chapter 03 builds them).

Parameters are named as in diffusers, so that published weights load as they are. Its norms differ
in ε: 1e-5 in residual blocks, 1e-6 in `Transformer2DModel`; both divide channels into 32 groups.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def timestep_embedding(t, dim, flip_sin_to_cos=True, freq_shift=0):
    """Timesteps as cosines and sines of `dim`/2 wavelengths, from 2π to about 2π·10,000 steps.

    t: [B], whole or broken numbers. Returns float32 [B, dim]: cosines first, as Stable Diffusion
    has them, or sines first. freq_shift: 1 makes the longest wavelength exactly 2π·10,000.
    Source: Vaswani et al. 2017, section 3.5.
    """
    half = dim // 2
    exponents = -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t[:, None].float() * torch.exp(exponents / (half - freq_shift))  # [B, dim/2]
    pair = (angles.cos(), angles.sin()) if flip_sin_to_cos else (angles.sin(), angles.cos())
    return F.pad(torch.cat(pair, dim=1), (0, dim % 2))


class TimestepEmbedding(nn.Module):
    """Two layers that turn the waves [B, C] into what residual blocks are told, [B, D]."""

    def __init__(self, in_channels, time_embed_dim):
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, time_embed_dim)
        self.linear_2 = nn.Linear(time_embed_dim, time_embed_dim)

    def forward(self, waves):
        return self.linear_2(F.silu(self.linear_1(waves)))


class ResnetBlock2D(nn.Module):
    """Two convolutions around a short cut, and the time added between them (DDPM, appendix B).

    temb_channels: size of the time embedding, None for a block that knows no time (in the VAE).
    forward(x [B, C_in, H, W], temb [B, temb_channels]) → [B, C_out, H, W].
    """

    def __init__(
        self, in_channels, out_channels, temb_channels=None, groups=32, eps=1e-5, dropout=0.0
    ):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb_channels, out_channels) if temb_channels else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.conv_shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, temb=None):
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]  # [B, C] -> [B, C, 1, 1]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """Each token of x takes what it needs from the context, or from x itself if there is none.

    forward(x [B, L, query_dim], context [B, M, context_dim]) → [B, L, query_dim].
    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, query_dim, context_dim=None, heads=8, dim_head=64, bias=False):
        super().__init__()
        inner, self.heads = heads * dim_head, heads
        self.to_q = nn.Linear(query_dim, inner, bias=bias)
        self.to_k = nn.Linear(context_dim or query_dim, inner, bias=bias)
        self.to_v = nn.Linear(context_dim or query_dim, inner, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim)])  # a list, for the name's sake

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = (
            tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, L, h·d] -> [B, h, L, d]
            for tokens in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        x = F.scaled_dot_product_attention(q, k, v)  # softmax(q kᵀ/√d) v
        return self.to_out[0](x.transpose(1, 2).flatten(2))  # [B, h, L, d] -> [B, L, h·d]


class SpatialAttention(Attention):
    """Every place of a picture looks at every other one; added to what was there.

    diffusers has it as `Attention` with a group norm. `context` is not used: it is there so that
    all attentions are called alike. forward(x [B, C, H, W]) → the same shape.
    """

    def __init__(self, channels, heads, dim_head, groups=32, eps=1e-5):
        super().__init__(channels, heads=heads, dim_head=dim_head, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, eps)

    def forward(self, x, context=None):
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # [B, C, H, W] -> [B, H·W, C]
        return x + super().forward(tokens).transpose(1, 2).reshape(x.shape)


class GEGLU(nn.Module):
    """A linear layer whose second half, through a GELU, gates its first (Shazeer 2020)."""

    def __init__(self, dim, inner):
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Two layers for each token by itself, four times as wide between them."""

    def __init__(self, dim):
        super().__init__()
        # The identity stands where diffusers has a dropout, so that the names agree.
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention to the words, feed-forward; each added to what was there.

    forward(x [B, L, dim], context [B, M, context_dim]) → [B, L, dim].
    """

    def __init__(self, dim, context_dim, heads, dim_head):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, None, heads, dim_head)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, context_dim, heads, dim_head)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer2DModel(nn.Module):
    """Transformer blocks over the places of a picture (Rombach et al. 2022, section 3.3).

    linear: project to tokens with linear layers (2.x) in place of 1×1 convolutions (1.x).
    forward(x [B, C, H, W], context [B, M, context_dim]) → the same shape as x.
    """

    def __init__(
        self, channels, context_dim, heads, dim_head, depth=1, groups=32, eps=1e-6, linear=False
    ):
        super().__init__()
        inner = heads * dim_head
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.proj_in = nn.Linear(channels, inner) if linear else nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(inner, context_dim, heads, dim_head) for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, channels) if linear else nn.Conv2d(inner, channels, 1)

    def forward(self, x, context):
        tokens = project(self.proj_in, self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + project(self.proj_out, tokens).transpose(1, 2).reshape(x.shape)


def project(layer, tokens):
    """A linear layer or a 1×1 convolution, which is one, on tokens [B, L, C_in] → [B, L, C_out]."""
    return F.linear(tokens, layer.weight.flatten(1), layer.bias)


class Downsample2D(nn.Module):
    """Half the height and width, by a convolution that takes every second place.

    padding: 1 on all sides, as U-Nets have it, or 0: right and below only, as in the VAE.
    """

    def __init__(self, channels, padding=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x):
        if self.conv.padding == (0, 0):
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class Upsample2D(nn.Module):
    """Twice the height and width: each place four times, then a convolution."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        if x.device.type == "cpu" and x[:, 0].numel() >= 1024:  # where that pays
            kernel = upsampling_kernel(self.conv.weight)
            return F.conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=1)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def upsampling_kernel(weight):
    """The kernel of a transposed convolution of stride 2 that does both steps of `Upsample2D`.

    Of the four equal places that a 3×3 kernel slides over, it often meets two at once: adding up
    its weights beforehand saves five multiplications in nine. weight: [C, C, 3, 3] → [C, C, 4, 4].
    """
    kernel = weight.flip(2, 3)
    kernel = F.pad(kernel, (0, 1, 0, 0)) + F.pad(kernel, (1, 0, 0, 0))
    kernel = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    return kernel.transpose(0, 1)
