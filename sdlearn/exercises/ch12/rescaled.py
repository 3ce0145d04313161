"""Chapter 12: the exercise `stable.rescaled`."""

import torch

from sdlearn import guidance
from sdlearn.exercises.bank import Case, Exercise


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
