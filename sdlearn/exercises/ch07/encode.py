"""Chapter 07: the exercise `vae.encode`."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from sdlearn import vae
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.pipeline import TextToImage


def _encode_cases():
    yield Case((torch.rand(2, 3, 8, 8) * 2 - 1, 0.18215), "Stable Diffusion's factor")
    yield Case((torch.rand(3, 3, 8, 12) * 2 - 1, 2.5), "a factor above 1, three pictures")
    yield Case((torch.rand(1, 3, 4, 8) * 2 - 1, 0.13025), "a single picture")


def _run_encode(answer, x, scaling_factor):
    """The answer, with an autoencoder whose moments are the pixels, a little brighter.

    A tensor that was made without asking this autoencoder is replaced by an empty one.
    """
    asked = []

    def encode(x):
        asked.append(x)
        return vae.DiagonalGaussian(F.pixel_unshuffle(x, 2) + 0.5)

    network = SimpleNamespace(encode=encode, scaling_factor=scaling_factor, downscale=2)
    z = answer(SimpleNamespace(vae=network), x)
    return z if asked or not isinstance(z, torch.Tensor) else torch.empty(0)


def _encoded(wrong):
    """A wrong encode: a function of the Gaussian and the factor."""
    return lambda self, x: wrong(self.vae.encode(x), self.vae.scaling_factor)


def _changed(wrong):
    """A wrong encode: a function of the picture, before anything else."""
    return lambda self, x: self.vae.encode(wrong(x)).mode() * self.vae.scaling_factor


ENCODE = Exercise(
    "vae.encode",
    reference=TextToImage.encode,
    cases=_encode_cases,
    run=_run_encode,
    hints=[
        "self.vae.encode(x) is a distribution, a DiagonalGaussian; which of its numbers stand for "
        "the picture?",
        "Its .mode() is the mean; nothing random is wanted here. Then the scaling factor.",
        "return self.vae.encode(x).mode() * self.vae.scaling_factor",
    ],
    mistakes={
        "It is divided by the factor; going into the latents it is multiplied.": _encoded(
            lambda q, s: q.mean / s
        ),
        "The scaling factor is missing: the spread of these is not 1.": _encoded(
            lambda q, s: q.mean
        ),
        "The standard deviations are taken; the picture is in the means, .mode().": _encoded(
            lambda q, s: q.std * s
        ),
        "The log-variances are taken; the picture is in the means, .mode().": _encoded(
            lambda q, s: q.logvar * s
        ),
        "The factor is squared: it is multiplied by once.": _encoded(lambda q, s: q.mean * s**2),
        "It is multiplied by the factor's root; the factor itself is meant.": _encoded(
            lambda q, s: q.mean * s**0.5
        ),
        "The spread of this batch is divided out; use the stored factor, the same for all "
        "pictures.": _encoded(lambda q, s: q.mean / q.mean.std()),
        "The means are shifted by the factor; they are multiplied by it.": _encoded(
            lambda q, s: q.mean + s
        ),
        "The mean is taken off as in a standardisation; the latents keep theirs, they are only "
        "multiplied.": _encoded(lambda q, s: (q.mean - q.mean.mean()) * s),
        "Each channel gets a spread of 1 of its own; there is one factor for all.": _encoded(
            lambda q, s: q.mean / q.mean.std(dim=(0, 2, 3), keepdim=True)
        ),
        "Means and log-variances are both in it, twice the channels; .mode() is the means "
        "alone.": _encoded(lambda q, s: torch.cat([q.mean, q.logvar], dim=1) * s),
        "A draw is taken; the same picture should always give the same latents: .mode().": _encoded(
            lambda q, s: q.sample() * s
        ),
        "The picture is changed before it is encoded, to [0, 1]; x should stay in "
        "[-1, 1].": _changed(lambda x: (x + 1) / 2),
        "The picture is changed before it is encoded, by 2x - 1; x is already in "
        "[-1, 1].": _changed(lambda x: 2 * x - 1),
        "The picture is multiplied by the factor; the latents should be.": lambda self, x: (
            self.vae.encode(x * self.vae.scaling_factor).mode()
        ),
        "self.vae.encode is never called: the picture goes through another autoencoder, such as "
        "the notebook's own vae, or through none.": lambda self, x: x * self.vae.scaling_factor,
        "The factor is always 0.18215, that of Stable Diffusion; each autoencoder has its own, "
        "self.vae.scaling_factor.": _encoded(lambda q, s: q.mean * 0.18215),
    },
)
