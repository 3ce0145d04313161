"""Chapter 10: the exercise `pipeline.latent_size`."""

from types import SimpleNamespace

from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch10.common import NONE, refuse
from sdlearn.pipeline import TextToImage


def _size_cases():
    # These sample_sizes suit most wrong multiples: it is the given sizes that tell them apart.
    ours, large = (4, 3, 24), (8, 4, 192)
    yield Case((*ours, 96), "one number")
    yield Case((*ours, (128, 64)), "width and height")
    yield Case((*ours, None), "no size is given")
    yield Case((*large, None), "no size is given, another model")
    yield Case((*ours, 80), "size 80, where 16 is the least")
    yield Case((*ours, 90), "size 90: to be refused with a ValueError")
    yield Case((*ours, 72), "size 72, a multiple of 4 alone: to be refused with a ValueError")
    yield Case((4, 2, 16, 66), "two levels, size 66: to be refused with a ValueError")
    yield Case((4, 2, 16, 72), "two levels, size 72, where 8 is the least")
    yield Case((*large, (192, 128)), "four levels and f = 8, where 64 is the least")
    yield Case((*large, 96), "four levels and f = 8, size 96: to be refused with a ValueError")
    yield Case((*ours, (64, 66)), "the height does not fit: to be refused with a ValueError")
    yield Case((*ours, (76, 64)), "the width does not fit: to be refused with a ValueError")


def _run_size(answer, downscale, levels, sample_size, size):
    config = {"block_out_channels": [32] * levels, "sample_size": sample_size}
    self = SimpleNamespace(
        vae=SimpleNamespace(downscale=downscale), unet=SimpleNamespace(config=config)
    )
    return answer(self, size)


def _sized(
    default=lambda f, sample_size: f * sample_size,
    multiple=lambda f, levels: f * 2 ** (levels - 1),
    fits=lambda width, height, multiple: width % multiple == height % multiple == 0,
    result=lambda width, height, f, multiple: (height // f, width // f),
    factor=lambda f: f,
    unfit=refuse,
):
    """A wrong latent_size: one of its parts is another."""

    def answer(self, size):
        f, config = factor(self.vae.downscale), self.unet.config
        size = default(f, config["sample_size"]) if size is None else size
        width, height = size if isinstance(size, (tuple, list)) else (size, size)
        least = multiple(f, len(config["block_out_channels"]))
        if not fits(width, height, least):
            return unfit()
        return result(width, height, f, least)

    return answer


LATENT_SIZE = Exercise(
    "pipeline.latent_size",
    reference=TextToImage.latent_size,
    cases=_size_cases,
    run=_run_size,
    refuses=ValueError,
    returns=("height", "width"),
    hints=[
        "First make width and height of whatever size is: None, a number, or a pair.",
        "A U-Net of three levels halves twice: f · 2**(levels - 1) pixels must fit in a whole "
        "number of times, both ways. levels is len(self.unet.config['block_out_channels']).",
        "If side % multiple: raise ValueError(…). Else return height // f, width // f.",
    ],
    mistakes={
        "Width and height are exchanged: sizes are (width, height), as in PIL; tensors have the "
        "height first.": _sized(result=lambda w, h, f, m: (w // f, h // f)),
        "These are pixels: the latents are f times smaller, f = self.vae.downscale.": _sized(
            result=lambda w, h, f, m: (h, w)
        ),
        "It is divided by all the halvings, the U-Net's too: the latents are what the VAE leaves, "
        "f times smaller.": _sized(result=lambda w, h, f, m: (h // m, w // m)),
        "Every multiple of f is accepted. The U-Net halves the latents, not the pixels: size // f "
        "has to be a multiple of 2**(levels - 1).": _sized(multiple=lambda f, levels: f),
        "Only the U-Net's halvings are checked: the VAE's factor comes on top.": _sized(
            multiple=lambda f, levels: 2 ** (levels - 1)
        ),
        "A U-Net of three levels halves twice, not three times: 2**(levels - 1).": _sized(
            multiple=lambda f, levels: f * 2**levels
        ),
        "f is multiplied by the number of levels; each of them but one halves: "
        "2**(levels - 1).": _sized(multiple=lambda f, levels: f * levels),
        "levels - 1 halvings are 2**(levels - 1), not levels - 1.": _sized(
            multiple=lambda f, levels: f * (levels - 1)
        ),
        "levels - 1 halvings are 2**(levels - 1), not 2 * (levels - 1): that is the same for two "
        "and three levels only.": _sized(multiple=lambda f, levels: f * 2 * (levels - 1)),
        "What has to fit is that of f = 4 and three levels, 16 or 4 * f; other models have other "
        "numbers: f * 2**(levels - 1).": _sized(multiple=lambda f, levels: 16),
        "Every multiple of 2 * f is accepted: the U-Net halves the latents levels - 1 times, "
        "2**(levels - 1).": _sized(multiple=lambda f, levels: 2 * f),
        "4 and 16 are one model's numbers; others have other ones: f is self.vae.downscale, and "
        "what has to fit is f * 2**(levels - 1).": _sized(
            factor=lambda f: 4, multiple=lambda f, levels: 16
        ),
        "f is always 4; other models have another one, self.vae.downscale.": _sized(
            factor=lambda f: 4
        ),
        "Each side is divided by f with //, and only what is left is checked: f has to fit in it "
        "without a remainder, too.": _sized(
            multiple=lambda f, levels: (f, 2 ** (levels - 1)),
            fits=lambda w, h, m: w // m[0] % m[1] == h // m[0] % m[1] == 0,
        ),
        "Each side has to fit, not their product.": _sized(fits=lambda w, h, m: w * h % m == 0),
        "Nothing is checked: a size that does not fit has to raise a ValueError.": _sized(
            fits=lambda w, h, m: True
        ),
        "Only the width is checked.": _sized(fits=lambda w, h, m: w % m == 0),
        "Only the height is checked.": _sized(fits=lambda w, h, m: h % m == 0),
        "It is enough for yours if one side fits; both have to.": _sized(
            fits=lambda w, h, m: w % m == 0 or h % m == 0
        ),
        "A size that does not fit is cut in silence; raise a ValueError.": _sized(
            fits=lambda w, h, m: True,
            result=lambda w, h, f, m: (h // m * m // f, w // m * m // f),
        ),
        NONE: _sized(unfit=lambda: None),
        "f is raised to a power, f**(levels - 1), which is right by chance for f = 4 and three "
        "levels; it is 2 that is: f * 2**(levels - 1).": _sized(
            multiple=lambda f, levels: f ** (levels - 1)
        ),
        "sample_size counts latents, not pixels: times f, if it is to be a size.": _sized(
            default=lambda f, sample_size: sample_size
        ),
        "Without a size it is 64 pixels for every model; its config.json has the right "
        "one.": _sized(default=lambda f, sample_size: 64),
    },
)
