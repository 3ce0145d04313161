"""The exercises of chapter 12, Stable Diffusion: its file, and what it is asked with."""

import torch
from torch.nn.functional import interpolate

from sdlearn import compvis, guidance, single_file, webui
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


def _meaning_cases():
    def noisy(scale, error, *shape):
        noise = torch.randn(shape)
        return noise, scale * noise + error * torch.randn(shape)

    def smooth(mean, contrast, remainder, *shape):
        """The answer is a picture without detail; a remainder of the noise may be in it."""
        noise = torch.randn(shape)
        picture = interpolate(torch.randn(*shape[:2], 4, 4), shape[2:], mode="bilinear")
        alike = (noise * picture).mean() / (noise * noise).mean()  # by chance: taken away
        picture = (picture - alike * noise - picture.mean()) / picture.std()
        return noise, mean + contrast * picture + remainder * noise

    size = (1, 4, 32, 32)
    yield Case(noisy(0.97, 0.1, *size), "the noise comes back with a small error")
    yield Case(smooth(-0.6, 0.7, 0.07, *size), "a dark picture comes back")
    yield Case(noisy(1.0, 0.0, *size), "the noise comes back exactly")
    yield Case(noisy(0.87, 0.2, *size), "the noise comes back weaker, with some error")
    yield Case(noisy(1.1, 0.12, 3, 4, 16, 16), "a batch: the noise comes back stronger")
    yield Case(smooth(0.0, 0.4, 0.05, *size), "a picture of little contrast comes back")
    yield Case(smooth(0.3, 1.0, -0.05, *size), "a picture as spread as the noise comes back")
    yield Case(smooth(0.0, 1.7, 0.07, *size), "a picture of much contrast comes back")
    yield Case(smooth(-0.3, 1.0, 0.07, 3, 4, 16, 16), "a batch of pictures comes back")


def _named(is_noise, noise="epsilon", picture="v_prediction"):
    """A wrong meaning: is_noise(noise, output) is another, or the names are."""
    return lambda x, output: noise if is_noise(x, output) else picture


def _alike(x, output):
    return single_file.meaning(x, output) == "epsilon"


MEANING = Exercise(
    "stable.meaning",
    reference=single_file.meaning,
    cases=_meaning_cases,
    hints=[
        "One that predicts the noise gives `noise` back, nearly. So ask how alike `output` and "
        "`noise` are, place by place; allow for some error.",
        "torch.corrcoef(torch.stack([noise.flatten(), output.flatten()]))[0, 1] is nearly 1 if "
        "both are alike, nearly 0 if they have nothing to do with each other.",
        'return "epsilon" if alike > 0.5 else "v_prediction"',
    ],
    mistakes={
        'The names are exchanged: the noise comes back from "epsilon", a picture from '
        '"v_prediction".': _named(_alike, "v_prediction", "epsilon"),
        'Return "epsilon" or "v_prediction", not True or False.': _named(_alike, True, False),
        'Return "epsilon" or "v_prediction", not a tensor of True or False.': _named(
            _alike, *torch.tensor([True, False])
        ),
        'This is the correlation; return what it tells, "epsilon" or "v_prediction".': (
            lambda x, output: torch.corrcoef(torch.stack([x.flatten(), output.flatten()]))[0, 1]
        ),
        **{
            f'The names are "epsilon" and "v_prediction"; yours are "{noise}" and "{v}".': (
                _named(_alike, noise, v)
            )
            for noise in ("epsilon", "eps", "noise", "epsilon_prediction")
            for v in ("v_prediction", "v", "velocity", "v-prediction", "v_pred", "vpred")
            if (noise, v) != ("epsilon", "v_prediction")
        },
        "No network gives the noise back exactly: equal() and allclose() are too strict. Ask "
        "whether both are much alike: a correlation above 0.5.": _named(torch.equal),
        'It is "v_prediction" every time. One that predicts the noise gives it back nearly: that '
        'is "epsilon".': _named(lambda x, output: False),
        'It is "epsilon" every time. One that predicts v does not give the noise back: what it '
        "gives has next to nothing to do with it.": _named(lambda x, output: True),
        "Only the means are compared: a picture may have that of the noise. Compare place by "
        "place.": _named(lambda x, output: (x.mean() - output.mean()).abs() < 0.07),
        "Only the spreads are compared: a picture may have that of the noise. Compare place by "
        "place.": _named(lambda x, output: (x.std() - output.std()).abs() < 0.17),
        "Yours only asks whether the answer goes more with the noise than against it, which a "
        "picture may do by chance. It has to be much alike: a correlation above 0.5.": _named(
            lambda x, output: (x * output).mean() > 0
        ),
    },
)


def _rescaled_cases():
    def pair(*spreads):
        n, spread = len(spreads), torch.tensor(spreads).view(-1, 1, 1, 1)
        shape = n, 4, 5, max(n, 2)  # as wide as there are pictures: without keepdim nothing stops
        channels = torch.tensor([0.5, 1.0, 1.6, 2.5]).view(4, 1, 1)
        prompt = torch.randn(shape) * channels + torch.randn(n, 1, 1, 1)
        return spread * (torch.randn(shape) * channels.flip(0) + 0.8), prompt

    yield Case((*pair(1.8, 3.5, 6.0), 0.7), "three pictures, share 0.7")
    yield Case((*pair(2.5, 4.5), 1.0), "two pictures, share 1")
    yield Case((*pair(3.0), 0.2), "one picture, share 0.2")
    yield Case((*pair(2.0, 3.0), 0.0), "share 0")


def _std(x, dim=(1, 2, 3)):
    return x.std(dim=dim, keepdim=True)


def _mean(x):
    return x.mean(dim=(1, 2, 3), keepdim=True)


def _ratio(measure):
    """A wrong rescaled: another measure in place of each picture's std."""
    return lambda guided, c, share: guided * (share * measure(c) / measure(guided) + 1 - share)


def _blend(blend):
    """A wrong rescaled: another blend(guided, ratio of the spreads, with_prompt, share)."""
    return lambda guided, c, share: blend(guided, _std(c) / _std(guided), c, share)


RESCALED = Exercise(
    "stable.rescaled",
    reference=guidance.rescaled,
    cases=_rescaled_cases,
    hints=[
        "Which number makes the spread of `guided` that of `with_prompt`? Share 1 multiplies by "
        "it, share 0 by 1, and what is between lies between.",
        "Each picture has a spread of its own: x.std(dim=(1, 2, 3), keepdim=True) is [B, 1, 1, 1].",
        "factor = with_prompt's spread / guided's; return guided * (share * factor + 1 - share)",
    ],
    mistakes={
        f"The spread is that of {wrong}; each picture has one, over all its channels and places: "
        "std(dim=(1, 2, 3), keepdim=True).": _ratio(lambda x, dim=dim: _std(x, dim))
        for wrong, dim in {
            "the whole batch": (0, 1, 2, 3),
            "each channel": (2, 3),
            "each channel over the whole batch": (0, 2, 3),
            "each place over the channels": 1,
            "each row": 3,
        }.items()
    }
    | {
        "Dimension 0 is the batch, and the spread that of each number over it; each picture has "
        "one, over all its channels and places: std(dim=(1, 2, 3), keepdim=True).": _ratio(
            lambda x: _std(x, 0) if len(x) > 1 else torch.nan * x
        ),
        "keepdim=True is missing: one number for each picture, [B], meets the columns; its shape "
        "should be [B, 1, 1, 1].": _ratio(lambda x: x.std(dim=(1, 2, 3))),
        "The spread is the standard deviation, std; yours is its square, the variance.": _ratio(
            lambda x: _std(x) ** 2
        ),
        "The length, or root of the mean square, is no spread: std first takes away the "
        "mean.": _ratio(lambda x: _mean(x**2).sqrt()),
        "The ratio is upside down: with_prompt's spread is to be divided by guided's.": _ratio(
            lambda x: 1 / _std(x)
        ),
        "The division by guided's spread is missing.": _blend(
            lambda x, f, c, s: x * (s * _std(c) + 1 - s)
        ),
        "share is the wrong way round: 1 is all the way back to with_prompt's spread, 0 leaves "
        "guided as it is.": _blend(lambda x, f, c, s: x * (s + (1 - s) * f)),
        "share is left out: this is always all the way back.": _blend(lambda x, f, c, s: x * f),
        "The rest, (1 - share) * guided, is missing.": _blend(lambda x, f, c, s: s * x * f),
        "1 - share is added; it multiplies guided.": _blend(lambda x, f, c, s: s * x * f + 1 - s),
        "The rest of the blend is with_prompt; it should be guided, so that share 0 changes "
        "nothing.": _blend(lambda x, f, c, s: s * x * f + (1 - s) * c),
        "The answer to the prompt is rescaled; it should be guided.": _blend(
            lambda x, f, c, s: c * (s * f + 1 - s)
        ),
        "guided and with_prompt themselves are blended; multiply guided by the ratio of their "
        "spreads.": _blend(lambda x, f, c, s: s * c + (1 - s) * x),
        "This is guided as it was: nothing is rescaled.": _blend(lambda x, f, c, s: x),
        "The brackets are wrong: share multiplies the ratio only, share * ratio + 1 - share.": (
            _blend(lambda x, f, c, s: x * s * (f + 1 - s))
        ),
        "The mean is left as it was; guided is multiplied as it is, its mean too.": _blend(
            lambda x, f, c, s: _mean(x) + (x - _mean(x)) * (s * f + 1 - s)
        ),
    },
)


def _weigh_cases():
    def states(mean, *shape):
        return torch.randn(1, *shape) + mean + torch.randn(shape[-1]) / 4

    yield Case((states(1.5, 5, 5), torch.tensor([1, 1.5, 0.6, 1, 1.3])), "five tokens, D = 5")
    yield Case((states(1.8, 4, 4), torch.tensor([1, 0, 1.1, 1])), "a weight is 0")
    yield Case((states(-1.5, 4, 4), torch.ones(4)), "all weights are 1")
    yield Case((states(2.0, 3, 3), torch.full((3,), 1.4)), "all weights are 1.4")
    weights = torch.tensor([1, 1.6, 1, 0.5, 1, 1.2])
    yield Case((states(-2.0, 6, 8), weights), "L and D differ: six tokens, D = 8")


def _run_weigh(answer, states, weights):
    """The answer; the states where it stops as L is not D: what it does where it is says more."""
    try:
        return answer(states, weights)
    except RuntimeError:
        if states.shape[1] == states.shape[2]:
            raise
        return states


def _weighted(change):
    """A wrong weigh: another change(weighted states, states) in place of the scaling."""
    return lambda states, weights: change(states * weights[:, None], states)


def _kept(measure):
    """A wrong weigh: another measure than the mean is kept."""
    return _weighted(lambda scaled, states: scaled * (measure(states) / measure(scaled)))


WEIGH = Exercise(
    "stable.weigh",
    reference=webui.weigh,
    cases=_weigh_cases,
    run=_run_weigh,
    hints=[
        "First each token's state times its weight: [L] needs the shape [L, 1] to go with "
        "[1, L, D]. Then one number for all brings the mean back.",
        "scaled = states * weights[:, None]. Which number makes scaled.mean() the mean of states?",
        "return scaled * (states.mean() / scaled.mean())",
    ],
    mistakes={
        "The mean is not brought back: multiply all by states.mean() / scaled.mean().": _weighted(
            lambda scaled, states: scaled
        ),
        "The weights run along the numbers of a state; each token has one weight: "
        "weights[:, None].": lambda states, weights: (
            (states * weights) * (states.mean() / (states * weights).mean())
        ),
        "The weights run along the numbers of a state, and the mean is not brought back. Each "
        "token has one weight: weights[:, None].": lambda states, weights: states * weights,
        "Each token's own mean is brought back, which undoes the weights; one number scales "
        "all: states.mean() / scaled.mean().": _kept(lambda x: x.mean(dim=-1, keepdim=True)),
        "The mean of each column, over the tokens, is brought back; one number scales all: "
        "states.mean() / scaled.mean().": _kept(lambda x: x.mean(dim=1, keepdim=True)),
        "The spread is kept; it should be the mean.": _kept(torch.std),
        "The length (norm) is kept; it should be the mean.": _kept(torch.norm),
        "The mean of abs() is kept; it should be the mean itself.": _kept(lambda x: x.abs().mean()),
        "The difference of the means is added; multiply by their ratio.": _weighted(
            lambda scaled, states: scaled + states.mean() - scaled.mean()
        ),
        "The ratio is upside down: states.mean() / scaled.mean().": _kept(lambda x: 1 / x.mean()),
        "A mean may be negative, and clamp makes a tiny number of it: divide by scaled.mean() as "
        "it is.": _weighted(
            lambda scaled, states: scaled * (states.mean() / scaled.mean().clamp(min=1e-6))
        ),
        "The mean becomes 1; it should be what it was.": _weighted(lambda x, states: x / x.mean()),
        "Only the ratio is multiplied by: the weighted states, scaled, should be.": _weighted(
            lambda scaled, states: states * (states.mean() / scaled.mean())
        ),
        "The weights are divided by their mean; it is the mean of the states that should stay "
        "what it was.": lambda states, weights: states * (weights / weights.mean())[:, None],
        "The weights are left out: multiply each state by its own.": lambda states, weights: states,
        "The weights are added; they multiply.": lambda states, weights: states + weights[:, None],
    },
)

EXERCISES = [OURS, MEANING, RESCALED, WEIGH]
