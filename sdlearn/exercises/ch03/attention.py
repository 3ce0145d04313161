"""Chapter 03: the exercise `unet.attention`."""

import torch
import torch.nn.functional as F

from sdlearn import layers
from sdlearn.exercises.bank import Case, Exercise, slopes
from sdlearn.exercises.ch03.common import closed


def _attention_cases():
    def layer(context_dim=None):  # d is 5: of 4, the root would be the half
        return layers.Attention(14, context_dim, heads=3, dim_head=5)

    x, context = 2 * torch.randn(2, 7, 14), 3 * torch.randn(2, 4, 10)
    yield Case((layer(), x.clone(), None, False), "the tokens look at each other")
    yield Case((layer(10), x.clone(), context.clone(), False), "there is a context")
    yield Case((layer(10), x.clone(), context.clone(), True), "gradients of to_q, to_k, to_v")


def _run_attention(answer, self, x, context, gradients):
    """The answer; or how much comes back to the layers, which numbers do not show."""
    with closed(layers.Attention, "forward", "q, k and v"):
        value = answer(self, x, context)
    sources = [self.to_q.weight, self.to_k.weight, self.to_v.weight]
    return slopes(value, sources) if gradients else value


def _merged(out):
    return out.transpose(1, 2).flatten(2)  # [B, h, L, d] -> [B, L, h·d]


def _attend(formula, last=lambda self, x, out: self.to_out[0](_merged(out))):
    """An Attention.forward with this formula of q, k and v [B, h, L, d], and this last line."""

    def answer(self, x, context):
        context = x if context is None else context
        q, k, v = (
            tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for tokens in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return last(self, x, formula(q, k, v))

    return answer


def _scores(q, k, power=0.5):
    return q @ k.transpose(-1, -2) / q.shape[-1] ** power


def _divided(size):
    """An Attention.forward whose scores are divided by size(q, k)."""
    return _attend(lambda q, k, v: (q @ k.mT / size(q, k)).softmax(-1) @ v)


def _weighted(weigh):
    """An Attention.forward in which weigh(scores) stands for the softmax."""
    return _attend(lambda q, k, v: weigh(_scores(q, k)) @ v)


def _right(q, k, v):
    return _scores(q, k).softmax(-1) @ v


def _square(formula):
    """A formula that works only for as many keys as queries: the other cases are not reached."""
    return _attend(lambda q, k, v: formula(q, k, v) if q.shape == k.shape else 0 * q)


def _one_head(q, k, v):
    return _right(*map(_merged, (q, k, v))).unflatten(2, (q.shape[1], -1)).transpose(1, 2)


def _exp_over_all(scores):
    return scores.exp() / scores.exp().sum()


ATTENTION = Exercise(
    "unet.attention",
    reference=layers.Attention.forward,
    cases=_attention_cases,
    run=_run_attention,
    advice={
        r"^\w+\(\) takes 2 positional arguments but 3": "The first line is given: (self, x, "
        "context=None).",
        # In the first case B is 2, h 3, L and M 7, d 5, C 14; the context has 10 channels.
        "batch2": "q is [B, h, L, d], k and v are [B, h, M, d]. The scores are q @ k.transpose(-2, "
        "-1), [B, h, L, M]; their softmax times v, with @ again, is [B, h, L, d].",
        r"must match the size .* dimension [01]$": "Only the last two dimensions of k change "
        "places, in the product: q @ k.transpose(-2, -1).",
        r"a \(7\) must match the size of tensor b \(3\)": "To divide by a sum over the keys, keep "
        "its dimension: sum(dim=-1, keepdim=True). .softmax(dim=-1) does all of it.",
        r"must match the size .* dimension [23]$": "* multiplies number by number. Both products "
        "of the formula are matrix products, @: q @ k.transpose(-2, -1), and the weights @ v.",
        r"\(14x21 and": "out has a number for each key, so these are scores or weights; they still "
        "have to be multiplied by v, with @.",
        r"\(30x7 and": "out is to be [B, h, L, d]: the last line brings the heads together.",
        r"and 10x15\)": "Keys and values come from the context: self.to_k(context), "
        "self.to_v(context).",
        "no attribute '(dim_head|head_dim|d)'": "The layer does not keep d: it is q.shape[-1].",
        "'(tuple|list|NoneType)' object has no attribute 'transpose'": "out has to be one tensor, "
        "[B, h, L, d].",
        "'Softmax'": "nn.Softmax makes a layer; scores.softmax(dim=-1) does it at once.",
        "3D tensor": "torch.bmm takes three dimensions; @ takes q and k as they are.",
        "inplace operation": "+=, *= and the like change a tensor that the gradient still needs: "
        "compute a new one.",
        r"call numpy\(\)|axes don't match": "Stay with torch: through NumPy no gradient comes "
        "back.",
    },
    hints=[
        "Scores first: every query with every key, q @ k.transpose(-1, -2), [B, h, L, M].",
        "Divide the scores by √d. q.shape[-1] is d.",
        "A softmax over the keys, the last dimension, then times v: scores.softmax(dim=-1) @ v.",
    ],
    mistakes={
        "The scores are not divided by √d.": _divided(lambda q, k: 1),
        "The scores are divided by d; it should be √d.": _divided(lambda q, k: q.shape[-1]),
        "√d is that of one head, q.shape[-1]; yours is that of all heads together.": _divided(
            lambda q, k: (q.shape[1] * q.shape[-1]) ** 0.5
        ),
        "The scores are multiplied by √d; divide.": _divided(lambda q, k: q.shape[-1] ** -0.5),
        "For each key the weights add up to 1 over the queries; for each query those of the keys "
        "must: q @ kᵀ, then softmax(dim=-1).": _weighted(lambda s: s.softmax(-2)),
        "The softmax goes over the heads; it should go over the keys: softmax(dim=-1).": _weighted(
            lambda s: s.softmax(1)
        ),
        "The softmax goes over the batch; it should go over the keys: softmax(dim=-1).": _weighted(
            lambda s: s.softmax(0)
        ),
        "The scores are not divided by √d, and the softmax goes over the queries; for each query "
        "the weights of the keys must add up to 1: softmax(dim=-1).": _attend(
            lambda q, k, v: _scores(q, k, 0).softmax(-2) @ v
        ),
        "There is no softmax: the scores have to become weights that add up to 1.": _weighted(
            lambda s: s
        ),
        "The scores are divided by their sum. A softmax takes exp of them first: "
        "softmax(dim=-1).": _weighted(lambda s: s / s.sum(-1, keepdim=True)),
        "The weights are sigmoids, each of its own score; a softmax makes them add up to "
        "1.": _weighted(torch.sigmoid),
        "The weights are the logarithms of a softmax; softmax(dim=-1) gives the weights "
        "themselves.": _weighted(lambda s: s.log_softmax(-1)),
        "The weights of all queries together add up to 1; those of each query should: "
        "softmax(dim=-1).": _weighted(_exp_over_all),
        "All keys weigh the same in yours; their scores have to decide.": _weighted(
            lambda s: (0 * s).softmax(-1)
        ),
        "Each query takes only the key of the largest score; softmax(dim=-1) gives all of them a "
        "share.": _weighted(lambda s: F.one_hot(s.argmax(-1), s.shape[-1]).to(s.dtype)),
        "The weights multiply the keys; they should multiply the values v.": _attend(
            lambda q, k, v: _right(q, k, k)
        ),
        "A query is compared with the values in yours; the scores are q times k.": _attend(
            lambda q, k, v: _right(q, v, v)
        ),
        "The division by √d comes after the softmax; divide the scores first.": _attend(
            lambda q, k, v: _scores(q, k, 0).softmax(-1) / q.shape[-1] ** 0.5 @ v
        ),
        "The keys and the values have changed places: softmax(q kᵀ/√d) v.": _attend(
            lambda q, k, v: _right(q, v, k)
        ),
        "d is the number of queries in yours; it is the length of a row, q.shape[-1].": _divided(
            lambda q, k: q.shape[-2] ** 0.5
        ),
        "d is the number of keys in yours; it is the length of a row, q.shape[-1].": _divided(
            lambda q, k: k.shape[-2] ** 0.5
        ),
        "d is the number of heads in yours; it is the length of a row, q.shape[-1].": _divided(
            lambda q, k: q.shape[1] ** 0.5
        ),
        "d is the number of x's channels in yours; it is the length of a head's row, "
        "q.shape[-1].": _divided(lambda q, k: 14**0.5),
        "The scores are divided by 4, the root of 16. d differs from layer to layer: "
        "q.shape[-1].": _divided(lambda q, k: 4),
        "The scores are divided by d/2. (d ** 1/2 is that: Python takes the power first.) d ** 0.5 "
        "is the root.": _divided(lambda q, k: q.shape[-1] / 2),
        "The scores are divided by 2d. (/ d ** 1/2 does that: Python takes the power first, then "
        "divides by d, then by 2.) / d ** 0.5 divides by the root.": _divided(
            lambda q, k: 2 * q.shape[-1]
        ),
        "The scores are divided by the fourth root of d; it should be √d.": _divided(
            lambda q, k: q.shape[-1] ** 0.25
        ),
        "The scores are rounded down to whole numbers, as // does: divide with /.": _attend(
            lambda q, k, v: _scores(q, k).floor().softmax(-1) @ v
        ),
        "q and k are brought to length 1 in yours; here their lengths count.": _attend(
            lambda q, k, v: _right(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v)
        ),
        "Each query sees only the keys up to its own place, as with is_causal; it should see "
        "all.": _attend(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
        "The keys ask the queries in yours: the scores are q @ k.transpose(-2, -1), with a row for "
        "each query.": _square(lambda q, k, v: _right(k, q, v)),
        "The weights are turned round before they meet v; row i should hold those of query "
        "i.": _square(lambda q, k, v: _scores(q, k).softmax(-1).mT @ v),
        "q, k and v are multiplied number by number; both products are matrix products: q @ "
        "k.transpose(-2, -1), and the weights @ v.": _square(
            lambda q, k, v: (q * k / q.shape[-1] ** 0.5).softmax(-1) * v
        ),
        "k is laid out anew, as by view or reshape, which mixes its rows; k.transpose(-2, -1) "
        "turns it round.": _attend(
            lambda q, k, v: (q @ k.reshape(k.mT.shape) / q.shape[-1] ** 0.5).softmax(-1) @ v
        ),
        "The queries are added to the answer; nothing is added here.": _attend(
            lambda q, k, v: q + _right(q, k, v)
        ),
        "The values are added to the answer once more; nothing is added here.": _square(
            lambda q, k, v: v + _right(q, k, v)
        ),
        "x is added to the answer. That is right for the network, but SpatialAttention and the "
        "other blocks do it: nothing is added here.": _attend(
            _right, lambda self, x, out: x + self.to_out[0](_merged(out))
        ),
        "All heads are one in yours, with rows of length h · d; each has scores and weights of its "
        "own: keep q, k and v as they are, [B, h, L, d].": _attend(_one_head),
        "to_out is left out: the last line is given.": _attend(
            _right, lambda self, x, out: _merged(out)
        ),
        "The heads are still apart, [B, h, L, d]: the last line, with to_out, brings them "
        "together.": _attend(_right, lambda self, x, out: out),
        "Heads and tokens are mixed up by a reshape: out.transpose(1, 2) comes first, as it was "
        "given.": _attend(
            _right, lambda self, x, out: self.to_out[0](out.reshape(len(x), x.shape[1], -1))
        ),
        "No gradient reaches to_q, to_k and to_v, so they would learn nothing: .detach() and "
        "no_grad() cut it off.": _attend(lambda q, k, v: _right(q, k, v).detach()),
        "No gradient reaches to_q and to_k, so they would learn nothing: .detach() and no_grad() "
        "cut it off.": _weighted(lambda s: s.softmax(-1).detach()),
        "No gradient reaches to_q, so it would learn nothing: .detach() and no_grad() cut it "
        "off.": _attend(lambda q, k, v: _right(q.detach(), k, v)),
        "No gradient reaches to_k, so it would learn nothing: .detach() and no_grad() cut it "
        "off.": _attend(lambda q, k, v: _right(q, k.detach(), v)),
        "No gradient reaches to_v, so it would learn nothing: .detach() and no_grad() cut it "
        "off.": _attend(lambda q, k, v: _right(q, k, v.detach())),
    },
)
