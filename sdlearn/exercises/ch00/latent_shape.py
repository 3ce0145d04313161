"""Chapter 00: the exercise `start.latent_shape`."""

from sdlearn import ideal
from sdlearn.exercises.bank import Case, Exercise


def _shape_cases():
    yield Case((512, 512, 8, 4), "the picture is square")
    yield Case((64, 96, 4, 4), "the picture is wider than high")
    yield Case((1024, 768, 8, 16), "the picture is higher than wide")
    yield Case((64, 64, 4, 5), "the factor is not whole")


def _shape(shape=None, factor=None):
    """A wrong latent_shape: another shape or another factor, from (height, width, downscale, C)."""

    def answer(height, width, downscale, channels):
        right = ideal.latent_shape(height, width, downscale, channels)
        size = height, width, downscale, channels
        return shape(*size) if shape else right[0], factor(*size) if factor else right[1]

    return answer


LATENT_SHAPE = Exercise(
    "start.latent_shape",
    reference=ideal.latent_shape,
    cases=_shape_cases,
    returns=("shape", "factor"),
    hints=[
        "Height and width both shrink by downscale. The channels are what they are told to be.",
        "Count the numbers: a picture has 3 · height · width, the latents have the product of "
        "their shape. The factor is how many times fewer.",
        "shape = (channels, height // downscale, width // downscale); the factor is "
        "3 * height * width divided by the product of these three.",
    ],
    mistakes={
        "Height and width are swapped: PyTorch's order is channels, height, width.": _shape(
            shape=lambda h, w, d, c: (c, w // d, h // d)
        ),
        "The channels stand last: PyTorch's order is channels, height, width.": _shape(
            shape=lambda h, w, d, c: (h // d, w // d, c)
        ),
        "Only one of the sides is shrunk: downscale applies to height and to width.": _shape(
            shape=lambda h, w, d, c: (c, h // d, w)
        ),
        "The factor counts places only. A pixel holds 3 numbers and a latent place holds "
        "`channels`: count numbers.": _shape(factor=lambda h, w, d, c: float(d * d)),
        "The factor leaves out that each pixel holds 3 numbers, one for each colour.": _shape(
            factor=lambda h, w, d, c: d * d / c
        ),
        "The factor is cut off to a whole number: divide with / there, not with //.": _shape(
            factor=lambda h, w, d, c: 3 * h * w // (c * (h // d) * (w // d))
        ),
        "The factor is rounded. It need not be whole: leave it as it is.": _shape(
            factor=lambda h, w, d, c: float(round(3 * d * d / c))
        ),
        "The factor is upside down: it says how many times fewer numbers the latents are, so "
        "the picture's count is divided by theirs.": _shape(
            factor=lambda h, w, d, c: c / (3 * d * d)
        ),
    },
)
