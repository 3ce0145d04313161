"""Classifier-free guidance, and what cross-attention looks at (chapter 09 builds this module)."""

import contextlib
import math

import torch


def attention_weights(q, k):
    """How much each query takes from each key: softmax(q kᵀ/√d), each row adds up to 1.

    q [B, heads, L, d], k [B, heads, M, d] → [B, heads, L, M]. Source: Vaswani et al. 2017,
    section 3.2.1.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, heads, L, M]
    return scores.softmax(dim=-1)


def drop_captions(context, empty, share, generator=None):
    """The contexts [B, L, D] of a batch, about `share` of them replaced by the empty prompt's.

    empty: [1, L, D]. Whole captions are dropped, each with the same chance. generator: on the
    device of the context. Source: Ho and Salimans 2022, algorithm 1.
    """
    chance = torch.rand(len(context), 1, 1, generator=generator, device=context.device)
    return torch.where(chance < share, empty, context)


def guide(output, guidance):
    """The answer for a doubled batch, [2B, ...], as one for each picture, [B, ...].

    The first half of the batch had the empty (or negative) prompt, the second half the prompt: from
    the first towards the second, and beyond it for guidance > 1. Source: Ho and Salimans 2022,
    equation 6, whose w is guidance - 1.
    """
    without, with_prompt = output.chunk(2)  # [2B, ...] -> twice [B, ...]
    return without + guidance * (with_prompt - without)


def rescaled(guided, with_prompt, share):
    """A guided answer [B, ...] whose spread is brought back to that of the answer to the prompt.

    Guidance widens the answer, and the picture becomes glaring. share: how much of the way back,
    from 0 (none) to 1. The spread is each picture's own, over all but the first dimension.
    Source: Lin et al. 2024, equations 15 and 16.
    """
    inner = tuple(range(1, guided.dim()))
    factor = with_prompt.std(dim=inner, keepdim=True) / guided.std(dim=inner, keepdim=True)
    return guided * (share * factor + 1 - share)


def word_map(weights, tokens, size):
    """Where a word is looked up: its share of each place's attention, as a picture [B, H, W].

    weights: [B, heads, H·W, M], as `attention_weights` gives them. tokens: the places of the word
    in the text, a list, since a word may have several. size: (H, W).
    """
    share = weights.mean(dim=1)[:, :, tokens].sum(dim=-1)  # [B, heads, L, M] -> [B, L]
    return share.unflatten(1, size)  # [B, H·W] -> [B, H, W]


@contextlib.contextmanager
def watched(unet):
    """Inside this block, every cross-attention of a U-Net keeps what it looked at.

    Gives a list to which each call of each one adds its weights [B, heads, L, M], on the CPU.
    """
    seen = []

    def keep(attention, inputs, output):
        x, context = inputs
        q, k = (
            tokens.unflatten(2, (attention.heads, -1)).transpose(
                1, 2
            )  # [B, L, h·d] -> [B, h, L, d]
            for tokens in (attention.to_q(x), attention.to_k(context))
        )
        seen.append(attention_weights(q, k).cpu())

    layers = [layer for name, layer in unet.named_modules() if name.endswith("attn2")]
    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
