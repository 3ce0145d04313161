"""The exercises of chapter 03, the U-Net."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn import layers, unet
from sdlearn.exercises.bank import Case, Exercise


def _times():
    yield Case((torch.tensor([7, 0, 1, 999]), 8), "dim is 8")
    yield Case((torch.tensor([400]), 32), "there is one timestep and dim is 32")
    yield Case((torch.tensor([0.5, 250.0]), 6), "timesteps are broken numbers")


def _waves(rates=None, angles=None, join=None):
    """A wrong timestep_embedding: other rates(dim/2), angles(t, rates) or join(cos, sin)."""

    def answer(t, dim):
        half = dim // 2
        slow = rates(half) if rates else 10_000 ** (-torch.arange(half) / half)
        a = angles(t.float(), slow) if angles else t[:, None].float() * slow
        return join(a.cos(), a.sin()) if join else torch.cat([a.cos(), a.sin()], dim=1)

    return answer


TIME = Exercise(
    "unet.timestep_embedding",
    reference=layers.timestep_embedding,
    cases=_times,
    atol=1e-4,  # of t = 999 in float32
    hints=[
        "The speeds first: 10_000 ** (-torch.arange(half) / half) is ω, with half = dim // 2.",
        "The angles are t[:, None] * ω, [B, half]: each timestep with each ω.",
        "torch.cat([angles.cos(), angles.sin()], dim=1): cosines first.",
    ],
    mistakes={
        "Sines come first in yours. The order does not matter to a network that learns it, but "
        "Stable Diffusion's weights expect the cosines first.": _waves(
            join=lambda c, s: torch.cat([s, c], dim=1)
        ),
        "Cosines and sines take turns in yours; all cosines come first, then all sines: "
        "torch.cat([…], dim=1).": _waves(join=lambda c, s: torch.stack([c, s], dim=2).flatten(1)),
        "The sign of the exponent: ω falls from "
        "1 to nearly 1/10,000; yours grows to 10,000.": _waves(
            lambda half: 10_000 ** (torch.arange(half) / half)
        ),
        "The exponent is -i/(dim/2), and i runs to dim/2; yours is divided by dim, so that the "
        "slowest wave is not slow enough.": _waves(
            lambda half: 10_000 ** (-torch.arange(half) / (2 * half))
        ),
        "Yours divides by dim/2 - 1. Some papers do (freq_shift = 1 in the package); Stable "
        "Diffusion divides by dim/2.": _waves(
            lambda half: 10_000 ** (-torch.arange(half) / (half - 1))
        ),
        "The base is 1,000 in yours, as if it were the number of timesteps; it is 10,000.": _waves(
            lambda half: 1000 ** (-torch.arange(half) / half)
        ),
        "The index counts from 1 in yours; torch.arange counts from 0, so that the first wave "
        "is cos(t).": _waves(lambda half: 10_000 ** (-(torch.arange(half) + 1) / half)),
        "There is a 2π before t in yours. The wavelengths are 2π · 10,000^(i/half): ω has no "
        "2π in it.": _waves(angles=lambda t, slow: 2 * math.pi * t[:, None] * slow),
        "t is divided by 1,000 in yours. It goes in as it is, 0 to 999.": _waves(
            angles=lambda t, slow: t[:, None] / 1000 * slow
        ),
        "t is divided by ω in yours; multiply.": _waves(angles=lambda t, slow: t[:, None] / slow),
        "The waves do not slow down one by one: ω_i is 10,000 to the power -i/half, not "
        "1 - i/half.": _waves(lambda half: 1 - torch.arange(half) / half),
        "The second half should be sines; yours are cosines again.": _waves(
            join=lambda c, s: torch.cat([c, c], dim=1)
        ),
        "The first half should be cosines; yours are sines as well.": _waves(
            join=lambda c, s: torch.cat([s, s], dim=1)
        ),
    },
)


def _block(channels_in, channels, **more):
    block = layers.ResnetBlock2D(channels_in, channels, 12, groups=4, eps=1e-2, **more)
    for parameter in block.parameters():  # norms and biases that are not 1 and 0
        parameter.data += 0.3 * torch.randn_like(parameter)
    return block


def _block_cases():
    temb = torch.randn(2, 12)
    yield Case((_block(8, 8), torch.randn(2, 8, 5, 4), temb.clone()),
               "the number of channels stays")  # fmt: skip
    yield Case((_block(8, 16), torch.randn(2, 8, 5, 4), temb.clone()),
               "the number of channels changes")  # fmt: skip
    yield Case((_block(8, 8, dropout=0.5), torch.randn(2, 8, 5, 4), temb.clone()),
               "dropout is on")  # fmt: skip


def _short(block, x):
    return x if block.conv_shortcut is None else block.conv_shortcut(x)


def _resnet(
    first=lambda b, x: b.conv1(F.silu(b.norm1(x))),
    when=lambda b, temb: b.time_emb_proj(F.silu(temb)),
    add=lambda h, when: h + when[:, :, None, None],
    second=lambda b, h: b.conv2(b.dropout(F.silu(b.norm2(h)))),
    join=lambda h, old, x: old + h,
    short=_short,
):
    """A ResnetBlock2D.forward from its pieces: the right ones unless another is given."""

    def answer(self, x, temb):
        h = add(first(self, x), when(self, temb))
        return join(second(self, h), short(self, x), x)

    return answer


def _time_last(self, x, temb):
    h = self.conv1(F.silu(self.norm1(x)))
    h = self.conv2(self.dropout(F.silu(self.norm2(h))))
    return h + self.time_emb_proj(F.silu(temb))[:, :, None, None] + _short(self, x)


RESNET = Exercise(
    "unet.resnet",
    reference=layers.ResnetBlock2D.forward,
    cases=_block_cases,
    hints=[
        "Two halves alike: norm, SiLU, convolution. The time comes between them, x at the end.",
        "First half: h = self.conv1(F.silu(self.norm1(x))). The time: self.time_emb_proj(F.silu("
        "temb)) is [B, C_out]; [:, :, None, None] makes it [B, C_out, 1, 1], to be added.",
        "Second half: h = self.conv2(self.dropout(F.silu(self.norm2(h)))).",
        "Return h + x, or, where self.conv_shortcut is not None, h + self.conv_shortcut(x).",
    ],
    mistakes={
        "The short cut is missing: what came in has to be added at the end.": _resnet(
            join=lambda h, old, x: h
        ),
        "The time is left out: add self.time_emb_proj(F.silu(temb)) "
        "between the two halves.": _resnet(add=lambda h, when: h),
        "The time goes into its layer without its SiLU: self.time_emb_proj(F.silu(temb)).": _resnet(
            when=lambda b, temb: b.time_emb_proj(temb)
        ),
        "SiLU comes before the time's layer, not "
        "after it: self.time_emb_proj(F.silu(temb)).": _resnet(
            when=lambda b, temb: F.silu(b.time_emb_proj(temb))
        ),
        "The time is multiplied; it has to be added.": _resnet(
            add=lambda h, when: h * when[:, :, None, None]
        ),
        "The time is added too late: it belongs between the two halves.": _time_last,
        "The time is added after norm2; it comes before it, right after conv1.": _resnet(
            first=lambda b, x: b.norm2(b.conv1(F.silu(b.norm1(x)))),
            second=lambda b, h: b.conv2(b.dropout(F.silu(h))),
        ),
        "SiLU comes after the norm, not before it: self.conv1(F.silu(self.norm1(x))), and the "
        "same in the second half.": _resnet(
            first=lambda b, x: b.conv1(b.norm1(F.silu(x))),
            second=lambda b, h: b.conv2(b.dropout(b.norm2(F.silu(h)))),
        ),
        "Here SiLU comes last in each half, after the convolution. The order is norm, SiLU, "
        "convolution.": _resnet(
            first=lambda b, x: F.silu(b.conv1(b.norm1(x))),
            second=lambda b, h: F.silu(b.conv2(b.dropout(b.norm2(h)))),
        ),
        "The first SiLU is missing, before conv1.": _resnet(first=lambda b, x: b.conv1(b.norm1(x))),
        "The second SiLU is missing, before conv2.": _resnet(
            second=lambda b, h: b.conv2(b.dropout(b.norm2(h)))
        ),
        "norm1 is left out, before the first SiLU.": _resnet(first=lambda b, x: b.conv1(F.silu(x))),
        "norm2 is left out, before the second SiLU.": _resnet(
            second=lambda b, h: b.conv2(b.dropout(F.silu(h)))
        ),
        "ReLU in place of SiLU: F.silu(h) is h · sigmoid(h).": _resnet(
            first=lambda b, x: b.conv1(F.relu(b.norm1(x))),
            when=lambda b, temb: b.time_emb_proj(F.relu(temb)),
            second=lambda b, h: b.conv2(b.dropout(F.relu(b.norm2(h)))),
        ),
        "The short cut carries norm1's output; it should carry x as it came in.": _resnet(
            short=lambda b, x: _short(b, b.norm1(x))
        ),
        "Right but for dropout: it comes before conv2, self.conv2(self.dropout(…)).": _resnet(
            second=lambda b, h: b.conv2(F.silu(b.norm2(h)))
        ),
        "The sum is divided by √2. Some networks do; this one leaves it.": _resnet(
            join=lambda h, old, x: (old + h) / 2**0.5
        ),
        "The short cut carries what conv1 gets; it should carry x as it came in. Was x "
        "overwritten?": _resnet(short=lambda b, x: _short(b, F.silu(b.norm1(x)))),
    },
)


def _attention_cases():
    def layer(context_dim=None):  # d is 5: of 4, the root would be the half
        return layers.Attention(15, context_dim, heads=3, dim_head=5)

    yield Case((layer(), 2 * torch.randn(2, 6, 15), None), "the tokens look at each other")
    yield Case((layer(10), 2 * torch.randn(2, 6, 15), 3 * torch.randn(2, 4, 10)),
               "there is a context")  # fmt: skip


def _attend(formula):
    """An Attention.forward with this formula of q, k and v [B, h, L, d]."""

    def answer(self, x, context):
        context = x if context is None else context
        q, k, v = (
            tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for tokens in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        out = formula(q, k, v)
        return self.to_out[0](out.transpose(1, 2).flatten(2))

    return answer


def _scores(q, k, power=0.5):
    return q @ k.transpose(-1, -2) / q.shape[-1] ** power


def _of_all_heads(q, k, v):
    d = q.shape[-1] * q.shape[1]
    return (q @ k.transpose(-1, -2) / d**0.5).softmax(-1) @ v


ATTENTION = Exercise(
    "unet.attention",
    reference=layers.Attention.forward,
    cases=_attention_cases,
    hints=[
        "Scores first: every query with every key, q @ k.transpose(-1, -2), [B, h, L, M].",
        "Divide the scores by √d. q.shape[-1] is d.",
        "A softmax over the keys, the last dimension, then times v: scores.softmax(dim=-1) @ v.",
    ],
    mistakes={
        "The scores are not divided by √d.": _attend(
            lambda q, k, v: _scores(q, k, 0).softmax(-1) @ v
        ),
        "The scores are divided by d; it should be √d.": _attend(
            lambda q, k, v: _scores(q, k, 1).softmax(-1) @ v
        ),
        "√d is that of one head, q.shape[-1], not of all heads together.": _attend(_of_all_heads),
        "The scores are multiplied by √d; divide.": _attend(
            lambda q, k, v: _scores(q, k, -0.5).softmax(-1) @ v
        ),
        "The softmax goes over the queries; for each query the weights of the keys must add up "
        "to 1: softmax(dim=-1).": _attend(lambda q, k, v: _scores(q, k).softmax(-2) @ v),
        "The softmax goes over the heads; it should go over the keys: softmax(dim=-1).": _attend(
            lambda q, k, v: _scores(q, k).softmax(1) @ v
        ),
        "There is no softmax: the scores have to become weights that add up to 1.": _attend(
            lambda q, k, v: _scores(q, k) @ v
        ),
        "The weights multiply the keys; they should multiply the values v.": _attend(
            lambda q, k, v: _scores(q, k).softmax(-1) @ k
        ),
        "A query is compared with the values in yours; the scores are q times k.": _attend(
            lambda q, k, v: _scores(q, v).softmax(-1) @ v
        ),
        "The softmax comes before the division by √d; divide the scores first.": _attend(
            lambda q, k, v: _scores(q, k, 0).softmax(-1) / q.shape[-1] ** 0.5 @ v
        ),
        "The keys and the values have changed places: softmax(q kᵀ/√d) v.": _attend(
            lambda q, k, v: _scores(q, v).softmax(-1) @ k
        ),
        "d is the number of places in yours; it is the length of a row, q.shape[-1].": _attend(
            lambda q, k, v: (q @ k.mT / q.shape[-2] ** 0.5).softmax(-1) @ v
        ),
        "d ** 1/2 is the half of d: Python takes the power first. d ** 0.5 is the root.": _attend(
            lambda q, k, v: (q @ k.mT / (q.shape[-1] / 2)).softmax(-1) @ v
        ),
    },
)


def _paths():
    common = {"norm_num_groups": 4, "attention_head_dim": 4}
    for sizes, depth, label in (
        ([8, 16, 24], 1, "there is one block a level"),
        ([8, 16, 24], 2, "there are two blocks a level"),
        ([8, 12, 12, 16], [1, 2, 1, 3], "each level has a number of blocks of its own"),
        ([16], 2, "there is one level only"),
    ):
        config = {
            **common,
            "block_out_channels": sizes,
            "layers_per_block": depth,
            "down_block_types": ["DownBlock2D"] * len(sizes),
            "up_block_types": ["UpBlock2D"] * len(sizes),
        }
        parts = unet.Parts(unet.complete(config))
        with torch.device("meta"):
            skips = unet.down_path(parts)[1]
        yield Case((parts, list(skips)), label)


def _channels(answer, parts, skips):
    """What the convolutions of each block on the way up take, and how many stages are left."""
    with torch.device("meta"):
        blocks = answer(parts, skips)
    found = [[resnet.conv1.in_channels for resnet in block.resnets] for block in blocks]
    return found, len(skips)


def _take(choose):
    """A wrong up_path: choose(skips, n, size) gives the channels that a level takes."""

    def answer(parts, skips):
        sizes = parts.config["block_out_channels"]
        blocks, before = nn.ModuleList(), sizes[-1]
        for level in reversed(range(len(sizes))):
            n = parts.at("layers_per_block", level)
            taken = choose(skips, n, sizes[level])
            block = unet.UpBlock(parts, level, before, sizes[level], taken, larger=level > 0)
            blocks.append(block)
            before = sizes[level]
        return blocks

    return answer


def _last_first(skips, n, size):
    return [skips.pop() for _ in range(n)]


def _from_the_front(skips, n, size):
    return [skips.pop(0) for _ in range(n + 1)]


def _in_order_of_the_way_down(skips, n, size):
    return [skips.pop() for _ in range(n + 1)][::-1]


def _not_taken(skips, n, size):
    return skips[::-1][: n + 1]


def _own_size(skips, n, size):
    return [size for _ in [skips.pop() for _ in range(n + 1)]]


def _of_the_first_level(parts, skips):
    first = unet.Parts({**parts.config, "layers_per_block": parts.at("layers_per_block", 0)})
    return _take(lambda skips, n, size: [skips.pop() for _ in range(n + 1)])(first, skips)


UP_PATH = Exercise(
    "unet.up_path",
    reference=unet.up_path,
    cases=_paths,
    run=_channels,
    returns=("channels", "stages left over"),
    changes=("skips",),
    hints=[
        "The list is a stack: the last stage of the way down is the first that is wanted.",
        "A level of n residual blocks on the way down has n + 1 on the way up, and each takes one.",
        "n is parts.at('layers_per_block', level). skips.pop() gives the last one and removes it.",
        "[skips.pop() for _ in range(parts.at('layers_per_block', level) + 1)]",
    ],
    mistakes={
        "One stage too few: the way up has one residual block more in each level than the way "
        "down, so that every stage, those after downsampling "
        "and conv_in's too, finds a taker.": _take(_last_first),
        "The stages are taken from the front; the way up begins where the way down ended: the "
        "last comes first, .pop().": _take(_from_the_front),
        "A level's stages are in the order of the way down; the last one comes first.": _take(
            _in_order_of_the_way_down
        ),
        "The stages stay in the list, so that every level takes the same ones: .pop() removes "
        "what it gives.": _take(_not_taken),
        "Each stage is taken to have this level's own number of channels. The last one of a "
        "level comes from before its first block, so it has those of the level above.": _take(
            _own_size
        ),
        "Right as long as all levels have as many blocks as the first; ask for each level: "
        "parts.at('layers_per_block', level).": _of_the_first_level,
        "The list `skips` is not used up: the next level must find what is left. .pop() and del "
        "take from the list itself; skips = skips[…] makes another one.": (
            lambda parts, skips: unet.up_path(parts, list(skips))
        ),
    },
)

EXERCISES = [TIME, RESNET, ATTENTION, UP_PATH]
