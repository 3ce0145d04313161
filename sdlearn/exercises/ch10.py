"""The exercises of chapter 10, the pipeline from a text to a picture."""

import math
from types import SimpleNamespace

import torch

from sdlearn import pipeline
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.pipeline import TextToImage


class _Unet:
    """In place of a U-Net: every input matters, and nothing is mixed across the batch."""

    conv_in = SimpleNamespace(weight=torch.zeros(1))

    def __call__(self, x_t, t, context):
        said = context.flatten(1).mean(dim=1) + t / 500  # [B]
        return x_t[:, :2].sin() + 0.3 * x_t[:, 2:].sum(dim=1, keepdim=True) + said.view(-1, 1, 1, 1)


def _numbers(texts):
    return torch.tensor([[len(text), sum(map(ord, text)) % 97] for text in texts])


class _Encoder:
    """In place of a text encoder: it is to be called before the steps."""

    late = False

    def __call__(self, ids):
        if self.late:
            raise RuntimeError("model encodes the texts in every step: encode them once, before it")
        return (ids[..., None] * torch.tensor([0.3, 0.7])).sin()


def _guided_cases():
    def picture(count, channels=2):
        return torch.randn(count, channels, 4, 4)

    t = torch.tensor([700, 700])
    two = ["a red heart", "two blue stars"]
    yield Case((two, [""], 4.0, picture(2), t, None), "two prompts, the empty negative prompt")
    yield Case((two, ["blue"], 2.5, picture(2), t, None), "one negative prompt for two prompts")
    yield Case((two, ["blue", "a cat"], 3.0, picture(2), t, None), "a negative prompt for each")
    yield Case((two, [""], 1, picture(2), t, None), "guidance is 1")
    yield Case((two, ["a dog"], 3.0, picture(2), t, picture(2, 1)), "more channels, for inpainting")


def _run_guided(answer, prompts, negative_prompts, guidance, x_t, t, channels):
    self = SimpleNamespace(unet=_Unet(), text_encoder=_Encoder(), tokenizer=_numbers)
    model = answer(self, prompts, negative_prompts, guidance, channels)
    if not callable(model):
        return model
    model(x_t, t)
    self.text_encoder.late = True
    return model(x_t, t)


def _guide(formula=None, texts=None, join=None, twice=lambda x: torch.cat([x, x])):
    """A wrong guided: another formula of both answers, other texts, other inputs of the U-Net."""
    formula = formula or (lambda u, c, g: u + g * (c - u))
    texts = texts or (lambda negatives, prompts: negatives * (len(prompts) // len(negatives)))
    join = join or (lambda x_t, channels: torch.cat([x_t, channels], dim=1))

    def answer(self, prompts, negative_prompts, guidance, channels=None):
        both = texts(negative_prompts, prompts) + prompts
        context = self.text_encoder(self.tokenizer(both))

        def model(x_t, t):
            x = x_t if channels is None else join(x_t, channels)
            output = self.unet(twice(x), torch.cat([t, t]), context)
            return formula(*output.chunk(2), guidance)

        return model

    return answer


def _in_turns(self, prompts, negative_prompts, guidance, channels=None):
    negatives = negative_prompts * (len(prompts) // len(negative_prompts))
    both = [text for pair in zip(negatives, prompts) for text in pair]
    context = self.text_encoder(self.tokenizer(both))

    def model(x_t, t):
        x = x_t if channels is None else torch.cat([x_t, channels], dim=1)
        without, with_prompt = self.unet(torch.cat([x, x]), torch.cat([t, t]), context).chunk(2)
        return without + guidance * (with_prompt - without)

    return model


GUIDED = Exercise(
    "pipeline.guided",
    reference=TextToImage.guided,
    cases=_guided_cases,
    run=_run_guided,
    hints=[
        "Two parts: what is done once (texts, tokens, states), and the function model(x_t, t), "
        "which is called in every step and uses it.",
        "One list of texts: the negative prompts first, as many as there are prompts, then the "
        "prompts. context = self.text_encoder(self.tokenizer(texts)) is [2B, L, D].",
        "In model: output = self.unet(torch.cat([x_t, x_t]), torch.cat([t, t]), context), and then "
        "output.chunk(2) gives the two answers.",
    ],
    mistakes={
        "The halves are exchanged: the negative prompts come first in the batch, so the first half "
        "of the answer is theirs. Yours moves away from the prompt.": _guide(
            lambda u, c, g: c + g * (u - c)
        ),
        "The sign of the difference is wrong: it points from the negative prompt to the "
        "prompt.": _guide(lambda u, c, g: u + g * (u - c)),
        "The step begins at the prompt's answer; it begins at the negative prompt's.": _guide(
            lambda u, c, g: c + g * (c - u)
        ),
        "The answer to the negative prompt is not added: the step begins there.": _guide(
            lambda u, c, g: g * (c - u)
        ),
        "This is the prompt's answer alone. Either guidance does not appear in it, or both halves "
        "are the prompts' answers; the first belongs to the negative prompts.": _guide(
            lambda u, c, g: c
        ),
        "This is the answer to the negative prompt alone.": _guide(lambda u, c, g: u),
        "guidance - 1 in place of guidance: guidance 1 has to give the prompt's answer.": _guide(
            lambda u, c, g: u + (g - 1) * (c - u)
        ),
        "The empty prompt always stands in the first half; the negative prompts belong "
        "there.": _guide(texts=lambda negatives, prompts: [""] * len(prompts)),
        "All pictures get the first negative prompt; where there is one for each, each has its "
        "own.": _guide(texts=lambda negatives, prompts: negatives[:1] * len(prompts)),
        "Each picture gets the negative prompt of another: their order is that of the "
        "prompts.": _guide(
            texts=lambda negatives, prompts: (negatives * (len(prompts) // len(negatives)))[::-1]
        ),
        "The texts are in turns, negative, prompt, negative, prompt; chunk(2) takes the batch "
        "apart in the middle: first all negative prompts, then all prompts.": _in_turns,
        "The pictures stand in turns; torch.cat([x, x]) puts all once, then all again.": _guide(
            twice=lambda x: x.repeat_interleave(2, 0)
        ),
        "channels are not used: where there are any, the U-Net sees torch.cat([x_t, channels], "
        "dim=1).": _guide(join=lambda x_t, channels: x_t),
        "channels stand before x_t: torch.cat([x_t, channels], dim=1).": _guide(
            join=lambda x_t, channels: torch.cat([channels, x_t], dim=1)
        ),
    },
)


def _size_cases():
    ours, large = (4, 3, 16), (8, 4, 64)
    yield Case((*ours, 96), "one number")
    yield Case((*ours, (128, 64)), "width and height")
    yield Case((*ours, None), "no size is given")
    yield Case((*large, None), "no size is given, another model")
    yield Case((*ours, 80), "size 80, where 16 is the least")
    yield Case((*ours, 90), "size 90: to be refused with a ValueError")
    yield Case((*ours, 72), "size 72, a multiple of 4 alone: to be refused with a ValueError")
    yield Case((4, 2, 16, 66), "two levels, size 66: to be refused with a ValueError")
    yield Case((*ours, (64, 66)), "the height does not fit: to be refused with a ValueError")
    yield Case((*ours, (72, 64)), "the width does not fit: to be refused with a ValueError")


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
):
    """A wrong latent_size: one of its four parts is another."""

    def answer(self, size):
        f, config = self.vae.downscale, self.unet.config
        size = default(f, config["sample_size"]) if size is None else size
        width, height = size if isinstance(size, (tuple, list)) else (size, size)
        least = multiple(f, len(config["block_out_channels"]))
        if not fits(width, height, least):
            raise ValueError(f"size {size} is not a multiple of {least}")
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
        "Only the VAE's factor is checked: the U-Net halves what is left levels - 1 times.": _sized(
            multiple=lambda f, levels: f
        ),
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
        "sample_size counts latents, not pixels: times f, if it is to be a size.": _sized(
            default=lambda f, sample_size: sample_size
        ),
        "Without a size it is 64 pixels for every model; its config.json has the right "
        "one.": _sized(default=lambda f, sample_size: 64),
    },
)


def _seed_cases():
    yield Case((7, 3), "one seed, three pictures")
    yield Case((0, 1), "seed 0")
    yield Case(([5, 90, 6], 3), "a list, one for each")
    yield Case(([40], 2), "a list of one, two pictures")
    yield Case((None, 3), "seed is None")
    yield Case((-1, 2), "a negative seed: to be refused with a ValueError")
    yield Case(([7, 7], 2), "the same seed twice")
    yield Case((1.5, 2), "a fraction: to be refused with a ValueError")
    yield Case((2.0, 2), "2.0, a float: to be refused with a ValueError")
    yield Case(([True, 2], 2), "True in a list: to be refused with a ValueError")
    yield Case(([1, -2], 2), "a list with a negative seed: to be refused with a ValueError")
    yield Case(([1, 2.5], 2), "a list with a fraction: to be refused with a ValueError")
    yield Case(([1, 2], 3), "two seeds for three pictures: to be refused with a ValueError")
    yield Case(([1, 2, 3], 2), "three seeds for two pictures: to be refused with a ValueError")


def _run_seeds(answer, seed, count):
    """The seeds; of seeds drawn at random what has to be true of them."""
    found = answer(seed, count)
    if seed is not None or not isinstance(found, (list, tuple)):
        return found
    return {
        "one for each picture": len(found) == count,
        "each is the one before + 1": all(b - a == 1 for a, b in zip(found, found[1:])),
        "others each time": found != answer(seed, count),
    }


def _seeds(
    following=lambda seed, count: [seed + i for i in range(count)],
    drawn=lambda count: int(torch.randint(2**31, (1,))),
    right=lambda number: type(number) is int and number >= 0,
    checked=lambda seeds: seeds,
    several=lambda seeds, count: seeds,
    number_right=lambda seeds, count: len(seeds) == count,
):
    """A wrong check_seeds: one of its parts is another."""

    def answer(seed, count):
        seed = drawn(count) if seed is None else seed
        seeds = list(seed) if isinstance(seed, (list, tuple)) else [seed]
        if not all(map(right, checked(seeds))):
            raise ValueError(f"seed {seed}")
        seeds = following(seeds[0], count) if len(seeds) == 1 else several(seeds, count)
        if not number_right(seeds, count):
            raise ValueError(f"{len(seeds)} seeds for {count} pictures")
        return seeds

    return answer


SEEDS = Exercise(
    "pipeline.check_seeds",
    reference=pipeline.check_seeds,
    cases=_seed_cases,
    run=_run_seeds,
    refuses=ValueError,
    hints=[
        "Four kinds of seed: None, a number, a list of one, a list of several. Make a list first.",
        "None: draw one number, secrets.randbelow(2**31). One number n: [n, n + 1, …], count of "
        "them.",
        "Refuse what is not a whole number (type(number) is not int) or less than 0, and a list of "
        "several whose length is not count: raise ValueError(…).",
    ],
    mistakes={
        "All pictures get the same seed, and so the same noise: the next ones have seed + 1, "
        "seed + 2, …": _seeds(lambda seed, count: [seed] * count),
        "The first picture has the seed itself, not seed + 1.": _seeds(
            lambda seed, count: [seed + 1 + i for i in range(count)]
        ),
        "The given seed does not appear: yours counts from 0.": _seeds(
            lambda seed, count: list(range(count))
        ),
        "The seeds go down; the next picture has seed + 1.": _seeds(
            lambda seed, count: [seed - i for i in range(count)]
        ),
        "Only one seed comes back; there is one for each picture.": _seeds(
            lambda seed, count: [seed], number_right=lambda seeds, count: True
        ),
        "None has to give another seed each time; yours is always the same.": _seeds(
            drawn=lambda count: 0
        ),
        "None: one seed is drawn, and each of the others is the one before + 1, so that one number "
        "is enough to ask for the same pictures again.": _seeds(
            drawn=lambda count: [int(torch.randint(2**31, (1,))) for _ in range(count)]
        ),
        "A negative seed is accepted: raise a ValueError.": _seeds(
            right=lambda number: type(number) is int
        ),
        "A fraction is accepted: raise a ValueError.": _seeds(right=lambda number: number >= 0),
        "A float such as 2.0 is accepted: raise a ValueError where type(number) is not "
        "int.": _seeds(right=lambda number: number >= 0 and number % 1 == 0),
        "True is accepted: isinstance(True, int) holds, type(True) is int does not.": _seeds(
            right=lambda number: isinstance(number, int) and number >= 0
        ),
        "Of a list only the first seed is checked.": _seeds(checked=lambda seeds: seeds[:1]),
        "Seeds are turned into whole numbers in silence, by int(); raise a ValueError.": _seeds(
            following=lambda seed, count: [int(seed) + i for i in range(count)],
            right=lambda number: number >= 0,
            several=lambda seeds, count: list(map(int, seeds)),
        ),
        "A list of the wrong length is accepted: raise a ValueError.": _seeds(
            number_right=lambda seeds, count: True
        ),
        "A list that is too long is cut in silence: raise a ValueError.": _seeds(
            several=lambda seeds, count: seeds[:count]
        ),
        "Of a list only the first counts in yours; each picture has its own.": _seeds(
            several=lambda seeds, count: [seeds[0] + i for i in range(count)]
        ),
        "A list is put in order; the first seed is the first picture's.": _seeds(
            several=lambda seeds, count: sorted(seeds)
        ),
    },
)


def _skip_cases():
    yield Case((0.8, 25), "strength 0.8, 25 steps")
    yield Case((0.5, 15), "half of 15 steps")
    yield Case((0.35, 15), "strength 0.35, 15 steps")
    yield Case((1.0, 10), "strength 1")
    yield Case((0.1, 10), "one step is left")
    yield Case((0, 10), "strength 0: to be refused with a ValueError")
    yield Case((-0.4, 10), "a negative strength: to be refused with a ValueError")
    yield Case((1.5, 10), "strength 1.5: to be refused with a ValueError")
    yield Case((0.05, 10), "no step would be left: to be refused with a ValueError")


def _skip(
    taken=lambda strength, steps: int(steps * strength),
    right=lambda strength, taken: 0 < strength <= 1 and taken >= 1,
    result=lambda steps, taken: steps - taken,
):
    """A wrong skipped: one of its parts is another."""

    def answer(strength, steps):
        count = taken(strength, steps)
        if not right(strength, count):
            raise ValueError(f"strength {strength}")
        return result(steps, count)

    return answer


SKIPPED = Exercise(
    "pipeline.skipped",
    reference=pipeline.skipped,
    cases=_skip_cases,
    refuses=ValueError,
    hints=[
        "How many steps are taken? steps · strength, cut to a whole number. The others are left "
        "out.",
        "What has to be refused can be told from strength and from the number of steps taken: ask "
        "before you return.",
        "taken = int(steps * strength); strength has to be above 0 and at most 1, and taken at "
        "least 1, or else raise ValueError(…). return steps - taken",
    ],
    mistakes={
        "These are the steps that are taken; the ones left out are asked for.": _skip(
            result=lambda steps, taken: taken
        ),
        "The number of steps is rounded; it is cut, int(…), as diffusers does it.": _skip(
            lambda strength, steps: round(steps * strength)
        ),
        "The steps taken are rounded up, or those left out are cut; cut those taken: steps - "
        "int(steps * strength).": _skip(lambda strength, steps: math.ceil(steps * strength)),
        "1 - strength is multiplied and cut, the steps left out; cut those taken: steps - "
        "int(steps * strength).": _skip(
            lambda strength, steps: steps - int(steps * (1 - strength)),
        ),
        "A fraction of a step is left: int(…) makes it whole.": _skip(
            lambda strength, steps: steps * strength,
            right=lambda strength, taken: 0 < strength <= 1 and taken >= 1,
        ),
        "One step is always left out; with strength 1 all are taken.": _skip(
            result=lambda steps, taken: max(1, steps - taken)
        ),
        "It is one too few; with strength 1 it has to be 0.": _skip(
            result=lambda steps, taken: steps - taken - 1
        ),
        "It is one too many.": _skip(result=lambda steps, taken: steps - taken + 1),
        "Strengths above 1 are accepted: raise a ValueError.": _skip(
            right=lambda strength, taken: strength > 0 and taken >= 1
        ),
        "A strength of 0 or less, or one that leaves no step, is accepted: raise a "
        "ValueError.": _skip(right=lambda strength, taken: strength <= 1),
        "A strength that leaves no step is accepted: raise a ValueError.": _skip(
            right=lambda strength, taken: 0 < strength <= 1
        ),
        "A strength out of place is moved into [0, 1] in silence: raise a ValueError.": _skip(
            lambda strength, steps: max(1, int(steps * min(1, max(0, strength)))),
            right=lambda strength, taken: True,
        ),
    },
)

EXERCISES = [GUIDED, LATENT_SIZE, SEEDS, SKIPPED]
