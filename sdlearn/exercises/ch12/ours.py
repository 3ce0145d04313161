"""Chapter 12: the exercise `stable.ours`."""

import torch

from sdlearn import compvis
from sdlearn.compvis import Place
from sdlearn.exercises.bank import Case, Exercise


def _ours_cases():
    layer, down = "transformer.resblocks.0.attn.in_proj_", "encoder.down.1.block.0."
    for kind, shape in (("weight", (18, 6)), ("bias", (18,))):
        for third, word in enumerate(("first", "second", "last")):
            place, what = Place(layer + kind, third), "matrix" if kind == "weight" else "bias"
            yield Case((torch.randn(shape), place), f"the {word} third of a {what}")
    for out, inner, more in ((6, 4, ""), (1, 4, ", one output"), (4, 1, ", one input")):
        place = Place("encoder.mid.attn_1.q.weight", None, True)
        label = f"a 1 × 1 convolution for a linear layer{more}"
        yield Case((torch.randn(out, inner, 1, 1), place), label)
    stays = {"a 1 × 1 convolution": (5, 3, 1, 1), "a 3 × 3 convolution": (4, 2, 3, 3)}
    for what, shape in (stays | {"a matrix": (5, 4), "a bias": (6,)}).items():
        yield Case((torch.randn(shape), Place(f"{down}conv1")), f"{what} that stays as it is")
    yield Case((torch.randn(6, 9).half(), Place("time_embed.2.weight")), "half precision")


def _run_ours(answer, tensor, place):
    """The answer; where it stops at a bias (dim=1), all of it: what matrices become says more."""
    try:
        return answer(tensor, place)
    except IndexError:
        if place.third is None or tensor.dim() > 1:
            raise
        return tensor


def _third(tensor, third):
    return tensor.chunk(3)[third]


def _ours(
    third=_third,
    conv=lambda x: x.flatten(1),
    has_third=lambda x, place: place.third is not None,
    is_conv=lambda x, place: place.conv,
):
    """A wrong ours: one of its parts is another."""

    def answer(tensor, place):
        if has_third(tensor, place):
            tensor = third(tensor, place.third)
        return conv(tensor) if is_conv(tensor, place) else tensor

    return answer


OURS = Exercise(
    "stable.ours",
    reference=compvis.ours,
    cases=_ours_cases,
    run=_run_ours,
    hints=[
        "Three kinds of place: one third of the tensor (place.third is 0, 1 or 2), a 1 × 1 "
        "convolution that is a matrix here (place.conv), and all others, which stay as they are.",
        "tensor.chunk(3) cuts along dimension 0, a matrix and a bias alike; flatten(1) makes "
        "[out, in, 1, 1] a matrix [out, in]. Mind that place.third may be 0.",
        "if place.third is not None: return tensor.chunk(3)[place.third]; if place.conv: "
        "return tensor.flatten(1); and else return tensor",
    ],
    mistakes={
        "The thirds are cut from left to right; q, k and v lie one below the other, along "
        "dimension 0: chunk(3).": _ours(lambda x, k: x.chunk(3, dim=-1)[k]),
        "Every third row is taken; the rows of q, k and v are not mixed: first all of q, then all "
        "of k, then all of v.": _ours(lambda x, k: x[k::3]),
        "The thirds are counted from the end; 0 is q.": _ours(lambda x, k: _third(x, -1 - k)),
        "It is always the first third: place.third says which.": _ours(lambda x, k: _third(x, 0)),
        "place.third counts from 0; yours counts from 1.": _ours(lambda x, k: _third(x, k - 1)),
        "The first third is forgotten: place.third is 0 there, which `if` takes for False. Ask "
        "whether it is None: if place.third is not None.": _ours(has_third=lambda x, p: p.third),
        "No third is taken: place.third says which.": _ours(has_third=lambda x, p: False),
        "Of a bias one third is ours, too: chunk(3) cuts it as it cuts a matrix.": _ours(
            has_third=lambda x, p: p.third is not None and x.dim() > 1
        ),
        "split(3) makes pieces of 3 rows, chunk(3) 3 pieces.": _ours(lambda x, k: x.split(3)[k]),
        "That is one row; a third of all rows is asked for: tensor.chunk(3)[place.third].": _ours(
            lambda x, k: x[k]
        ),
        "squeeze() takes away every dimension of size 1, also those of a matrix with one row or "
        "column: flatten(1), or [:, :, 0, 0].": _ours(conv=torch.squeeze),
        "squeeze() takes away dimensions of size 1 from every tensor; only where place.conv is "
        "True the last two should go.": _ours(conv=torch.squeeze, is_conv=lambda x, p: True),
        "All 1 × 1 convolutions become matrices; some are convolutions in our network, too. "
        "place.conv tells.": _ours(is_conv=lambda x, p: x.shape[2:] == (1, 1)),
        "All convolutions become matrices; only those with place.conv should.": _ours(
            is_conv=lambda x, p: x.dim() == 4
        ),
        "place.conv is left out: ours is [out, in] there.": _ours(is_conv=lambda x, p: False),
    },
)
