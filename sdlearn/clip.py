"""The text encoder of Stable Diffusion, and what trains one: CLIP (chapter 08 builds it).

`CLIPTextModel` has the configuration and parameter names of transformers' class. `ImageTower` and
`contrastive_loss` are for training it together with pictures. The `Tokenizer` has a module of its
own. Source: Radford et al. 2021.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from sdlearn.configs import fill
from sdlearn.tokenizer import Tokenizer

__all__ = ["CLIPTextModel", "ImageTower", "Tokenizer", "contrastive_loss", "similarity"]

DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": None,  # the last one of the vocabulary, as in CLIP's: 49407
}
# Settings that this encoder has in one form only.
ONLY = {"model_type": "clip_text_model", "attention_dropout": 0.0, "dropout": 0.0}
# What a config.json says beside that. It changes nothing here.
REMARKS = {"architectures", "bos_token_id", "pad_token_id", "projection_dim", "torch_dtype"}
REMARKS |= {"initializer_factor", "initializer_range", "transformers_version", "return_dict"}
REMARKS |= {"dtype", "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id"}
REMARKS |= {"problem_type", "output_hidden_states", "output_attentions"}


def quick_gelu(x):
    """A GELU from when the exact one was slow: x·σ(1.702x). OpenAI's CLIP was trained with it."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}


def complete(config):
    """A checked copy of the `config.json` of a CLIP text model (a dict), defaults filled in.

    Raises ValueError, naming it, for a setting that `CLIPTextModel` does not have.
    """
    full = fill(config, DEFAULTS, ONLY, REMARKS, "a CLIP text")
    if full["hidden_act"] not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"hidden_act = {full['hidden_act']!r} is not built here: {known} are")
    if full["eos_token_id"] is None:
        full["eos_token_id"] = full["vocab_size"] - 1
    for name in set(full) - {"hidden_act", "layer_norm_eps"}:
        if not isinstance(full[name], int) or full[name] < 1:
            raise ValueError(f"{name} = {full[name]!r} is not a whole number, 1 or more")
    dim, heads = full["hidden_size"], full["num_attention_heads"]
    if dim % heads:
        raise ValueError(f"hidden_size {dim} cannot be divided by num_attention_heads = {heads}")
    return full


class SelfAttention(nn.Module):
    """Each token takes what it needs from all, or with `causal` from itself and those before it.

    forward(x [B, L, dim]) → [B, L, dim]. Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x, causal):
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, L, D] -> [B, h, L, d]
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        x = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(x.transpose(1, 2).flatten(2))  # [B, h, L, d] -> [B, L, D]


class EncoderLayer(nn.Module):
    """Attention, then two layers for each token by itself; each added to what was there."""

    def __init__(self, dim, heads, inner, act="quick_gelu", eps=1e-5):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dim, eps)
        self.self_attn = SelfAttention(dim, heads)
        self.layer_norm2 = nn.LayerNorm(dim, eps)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, inner), "fc2": nn.Linear(inner, dim)})
        self.act = ACTIVATIONS[act]

    def forward(self, x, causal=False):
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp.fc2(self.act(self.mlp.fc1(self.layer_norm2(x))))


class Embeddings(nn.Module):
    """The vector of each token plus that of its place in the text: ids [B, L] → [B, L, dim]."""

    def __init__(self, tokens, places, dim):
        super().__init__()
        self.token_embedding = nn.Embedding(tokens, dim)
        self.position_embedding = nn.Embedding(places, dim)
        for embedding in (self.token_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=0.02)  # torch's 1 would drown what layers add

    def forward(self, ids):
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class CLIPTextModel(nn.Module):
    """Token numbers to one vector a token: what cross-attention reads.

    forward(ids [B, L], skip=0) → [B, L, D], through the final norm. skip=1 leaves out the last
    layer (web UIs: "CLIP skip 2"), as Stable Diffusion 2.x does by a configuration with one less.
    The only mask is the causal one: padding is attended to. `config`: with defaults filled in.
    """

    def __init__(self, config):
        super().__init__()
        self.config = c = complete(config)
        dim, eps = c["hidden_size"], c["layer_norm_eps"]
        shape = dim, c["num_attention_heads"], c["intermediate_size"], c["hidden_act"], eps
        layers = nn.ModuleList(EncoderLayer(*shape) for _ in range(c["num_hidden_layers"]))
        self.text_model = nn.ModuleDict({"encoder": nn.ModuleDict({"layers": layers})})
        self.text_model["embeddings"] = Embeddings(
            c["vocab_size"], c["max_position_embeddings"], dim
        )
        self.text_model["final_layer_norm"] = nn.LayerNorm(dim, eps)

    def forward(self, ids, skip=0):
        check_ids(self.config, ids, skip)
        x, layers = self.text_model.embeddings(ids), self.text_model.encoder.layers
        for layer in layers[: len(layers) - skip]:
            x = layer(x, causal=True)
        return self.text_model.final_layer_norm(x)

    def pooled(self, hidden, ids):
        """One vector a text, that of its end token (see `at_end`): [B, L, D] → [B, D]."""
        return at_end(hidden, ids, self.config["eos_token_id"])

    @classmethod
    def from_config(cls, config):
        """From the `config.json` of transformers' class, as a dict (checked by `complete`)."""
        return cls(config)

    def load_state_dict(self, state_dict, *args, **kwargs):
        """Takes the names of files and those of transformers 5 (see `with_prefix`)."""
        return super().load_state_dict(with_prefix(state_dict), *args, **kwargs)


def at_end(hidden, ids, end):
    """What `forward` gave, [B, L, D], at the first end token of each text, which saw all of it.

    Where `end` is 2, as configurations from before 2023 wrongly say, the largest number is the
    end token. Returns [B, D]. Raises ValueError for a text without end token.
    """
    ends = ids == (ids.amax(1, keepdim=True) if end == 2 else end)  # [B, L]
    if not ends.any(1).all():
        raise ValueError(f"a text has no end token {end}: is eos_token_id the tokenizer's `end`?")
    return hidden[torch.arange(len(ids), device=ids.device), ends.int().argmax(1)]


def with_prefix(state_dict):
    """A text model's weights, each name with `text_model.` in front, as files have it.

    transformers 5 leaves that out in memory. Files of 1.x also hold `position_ids`, which only
    counts 0, 1, 2 …: it is left out.
    """
    start = "text_model."
    return {
        name if name.startswith(start) else start + name: value
        for name, value in state_dict.items()
        if not name.endswith("position_ids")
    }


def check_ids(config, ids, skip=0):
    """Raises ValueError for ids or a skip that the text model cannot take."""
    if ids.dim() != 2 or ids.is_floating_point():
        raise ValueError(f"ids are {ids.dtype} {list(ids.shape)}; whole numbers [B, L] are needed")
    longest, size, layers = (
        config[name] for name in ("max_position_embeddings", "vocab_size", "num_hidden_layers")
    )
    if ids.shape[1] > longest:
        raise ValueError(f"{ids.shape[1]} tokens a text; this encoder has {longest} positions")
    # Looked at here, since a GPU would stop for good at a number without a row.
    if not ids.is_meta and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise ValueError(
            f"ids are {int(ids.min())} to {int(ids.max())}; this encoder knows 0 to {size - 1}: "
            "is the tokenizer its own?"
        )
    if skip not in range(layers):
        raise ValueError(f"skip {skip!r} is not one of 0 … {layers - 1}: there are {layers} layers")


class ImageTower(nn.Module):
    """Pictures to one vector each, small enough to be trained on a laptop.

    Three convolutions of stride 2 make 32×32 pixels 4×4 places, transformer layers let these look
    at each other, and their mean is projected. Other sizes are brought to 32×32 first.
    forward(x [B, 3, H, W] in [-1, 1]) → [B, dim].
    """

    def __init__(self, dim, width=128, layers=2, heads=4, size=32):
        super().__init__()
        self.size = size
        channels = 3, width // 4, width // 2, width
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(channels, channels[1:])
        )
        self.position = nn.Parameter(0.02 * torch.randn(math.ceil(size / 8) ** 2, width))
        self.layers = nn.ModuleList(EncoderLayer(width, heads, 4 * width) for _ in range(layers))
        self.norm, self.proj = nn.LayerNorm(width), nn.Linear(width, dim)

    def forward(self, x):
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"x has shape {list(x.shape)}; pictures are [B, 3, H, W]")
        x = F.adaptive_avg_pool2d(x, self.size)
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = x.flatten(2).transpose(1, 2) + self.position  # [B, C, H, W] -> [B, H·W, C]
        for layer in self.layers:
            x = layer(x)
        return self.proj(self.norm(x.mean(1)))


def similarity(text, image):
    """The cosine of the angle between each text [N, D] and each picture [M, D] → [N, M]."""
    return F.normalize(text, dim=1) @ F.normalize(image, dim=1).T


def contrastive_loss(text, image, logit_scale):
    """How badly texts [B, D] find their pictures [B, D] among all of the batch, and the reverse.

    The mean of two cross-entropies (InfoNCE), ln B where all look alike. logit_scale: the logarithm
    of the factor before the softmax, a number or a parameter; CLIP begins with ln(1/0.07) and
    keeps it at ln 100 or less. Source: Radford et al. 2021, figure 3; van den Oord et al. 2018.
    """
    if text.dim() != 2 or text.shape != image.shape:
        shapes = f"{list(text.shape)} and {list(image.shape)}"
        raise ValueError(f"texts and pictures come in pairs, both [B, D], not as {shapes}")
    logits = similarity(text, image) * torch.as_tensor(logit_scale).exp()  # [B texts, B pictures]
    pairs = torch.arange(len(text), device=text.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
