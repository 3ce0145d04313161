"""Chapter 12: the exercise `stable.meaning`."""

import torch
from torch.nn.functional import interpolate

from sdlearn import single_file
from sdlearn.exercises.bank import Case, Exercise


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
