"""Chapter 03: the exercise `unet.attention`."""

import torch

from sdlearn import layers
from sdlearn.exercises.bank import Case, Exercise


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
