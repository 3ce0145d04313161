"""The exercises of chapter 10, the pipeline from a text to a picture."""

import math
from numbers import Number
from types import SimpleNamespace

import torch

from sdlearn import pipeline
from sdlearn.clip import check_ids
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.pipeline import TextToImage
from sdlearn.unet import check_input


class _Unet(torch.nn.Module):
    """In place of a U-Net: it refuses what that refuses, and every input matters.

    Nothing is mixed across the batch. The answer is no linear function of the context, so guidance
    from state to state is told from guidance from answer to answer.
    """

    def __init__(self, in_channels):
        super().__init__()
        self.config = {"in_channels": in_channels, "block_out_channels": [8, 8]}
        self.config["cross_attention_dim"] = 2
        self.conv_in = torch.nn.Conv2d(in_channels, 8, 3)

    def forward(self, x, t, context=None):
        # Too few channels are let through: a known mistake says more about them.
        channels = min([self.config["in_channels"], *x.shape[1:2]])
        config = {**self.config, "in_channels": channels}
        try:
            t = check_input(config, x, t, context)
        except ValueError as error:
            raise ValueError(f"{error}. {_remedy(error, context)}") from None
        said = (3 * context).sin().flatten(1).mean(dim=1).view(-1, 1, 1, 1)  # [B, 1, 1, 1]
        more = 0.3 * x[:, 2:].sum(dim=1, keepdim=True)
        return (1 + said) * x[:, :2].sin() + said + more + (t / 500).view(-1, 1, 1, 1)


def _remedy(error, context):
    """What to do about inputs that the U-Net refuses, in the exercise's words."""
    if str(error).startswith("x "):
        return (
            "It is called as self.unet(x, t, context), and x_t goes in twice along the batch, "
            "torch.cat([x_t, x_t]); dim=1 joins channels"
        )
    if str(error).startswith("t "):
        return "Where x_t goes in twice, so does t: torch.cat([t, t])"
    if context is not None and not context.is_floating_point():
        return "These are tokens; the U-Net reads states: self.text_encoder(tokens)"
    return (
        "It holds one text for each picture in x. For x_t twice these are B negative prompts, then "
        "the B prompts; a single negative prompt is repeated B times, B of them stay as they are"
    )


def _numbers(texts):
    texts = [texts] if isinstance(texts, str) else texts
    return torch.tensor([[len(text), sum(map(ord, text)) % 97] for text in texts])


class _Encoder(torch.nn.Module):
    """In place of a text encoder: it is to be called before the steps."""

    def __init__(self):
        super().__init__()
        self.late = False
        self.scale = torch.nn.Parameter(torch.tensor([0.3, 0.7]), requires_grad=False)

    def forward(self, ids):
        if self.late:
            raise RuntimeError("model encodes the texts in every step: encode them once, before it")
        if not isinstance(ids, torch.Tensor):
            raise TypeError("the text encoder reads tokens: self.tokenizer(texts) makes them")
        check_ids({"max_position_embeddings": 2, "vocab_size": 99, "num_hidden_layers": 1}, ids)
        return (ids[..., None] * self.scale).sin()


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
    # The same noise twice, so that pictures in turns change nothing here: t in turns alone does.
    same, other = picture(1).repeat(2, 1, 1, 1), torch.tensor([700, 200])
    yield Case((two, ["a dog"], 3.0, same, other, None), "t differs from picture to picture")
    one = ["three green squares"]
    yield Case((one, ["a cat"], 5.0, picture(1), torch.tensor([300]), None), "a single prompt")


def _run_guided(answer, prompts, negative_prompts, guidance, x_t, t, channels):
    unet = _Unet(2 if channels is None else 3)
    self = SimpleNamespace(unet=unet, text_encoder=_Encoder(), tokenizer=_numbers)
    model = answer(self, prompts, negative_prompts, guidance, channels)
    if model is None or model is ...:
        return model
    if not callable(model):
        return "no function"
    model(x_t, t)
    self.text_encoder.late = True
    return model(x_t, t)


def _twice(x):
    return torch.cat([x, x])


def _joined(x_t, channels):
    return x_t if channels is None else torch.cat([x_t, channels], dim=1)


def _guide(
    formula=lambda u, c, g: u + g * (c - u),
    texts=lambda negatives, prompts: negatives * (len(prompts) // len(negatives)),
    pictures=lambda x_t, channels: _twice(_joined(x_t, channels)),
    times=_twice,
    split=lambda output: output.chunk(2),
):
    """A wrong guided: another formula of both answers, other texts, other inputs of the U-Net."""

    def answer(self, prompts, negative_prompts, guidance, channels=None):
        both = texts(negative_prompts, prompts) + prompts
        context = self.text_encoder(self.tokenizer(both))

        def model(x_t, t):
            output = self.unet(pictures(x_t, channels), times(t), context)
            return formula(*split(output), guidance)

        return model

    return answer


def _beside(x_t, channels, twice):
    """All pictures twice, as the U-Net sees them, but with other channels beside them."""
    return _joined(_twice(x_t), None if channels is None else twice(channels))


def _states(self, prompts, negative_prompts, guidance, channels=None):
    negatives = negative_prompts * (len(prompts) // len(negative_prompts))
    u, c = self.text_encoder(self.tokenizer(negatives + prompts)).chunk(2)
    context = u + guidance * (c - u)
    return lambda x_t, t: self.unet(_joined(x_t, channels), t, context)


def _in_turns(self, prompts, negative_prompts, guidance, channels=None):
    negatives = negative_prompts * (len(prompts) // len(negative_prompts))
    both = [text for pair in zip(negatives, prompts) for text in pair]
    context = self.text_encoder(self.tokenizer(both))

    def model(x_t, t):
        x = _twice(_joined(x_t, channels))
        without, with_prompt = self.unet(x, _twice(t), context).chunk(2)
        return without + guidance * (with_prompt - without)

    return model


GUIDED = Exercise(
    "pipeline.guided",
    reference=TextToImage.guided,
    cases=_guided_cases,
    run=_run_guided,
    advice={
        "must match except in dimension 1": "channels goes in as often as x_t: "
        "torch.cat([x_t, channels], dim=1), then all of it twice."
    },
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
        "Yours begins at the prompt's answer; it has to begin at the negative prompt's, without + "
        "guidance * (with_prompt - without). (Yours is Ho and Salimans' formula, but their w is "
        "guidance - 1.)": _guide(lambda u, c, g: c + g * (c - u)),
        "The answer to the negative prompt is not added: the step begins there.": _guide(
            lambda u, c, g: g * (c - u)
        ),
        "This is the prompt's answer alone. Either guidance does not appear in it, or both halves "
        "are the prompts' answers; the first belongs to the negative prompts.": _guide(
            lambda u, c, g: c
        ),
        "This is the answer to the negative prompt alone.": _guide(lambda u, c, g: u),
        "This is guidance times the prompt's answer. Are the brackets missing? without + guidance "
        "* (with_prompt - without)": _guide(lambda u, c, g: g * c),
        "The whole answer to the prompt is added, guidance times; it is the difference that is "
        "added, with_prompt - without.": _guide(lambda u, c, g: u + g * c),
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
            pictures=lambda x_t, channels: _joined(x_t, channels).repeat_interleave(2, 0)
        ),
        "t stands in turns; torch.cat([t, t]) puts all once, then all again.": _guide(
            times=lambda t: t.repeat_interleave(2)
        ),
        "All pictures get the t of the first; t has one for each, torch.cat([t, t]).": _guide(
            times=lambda t: t[:1]
        ),
        "channels are not used: where there are any, the U-Net sees torch.cat([x_t, channels], "
        "dim=1).": _guide(pictures=lambda x_t, channels: _twice(x_t)),
        "channels stand before x_t: torch.cat([x_t, channels], dim=1).": _guide(
            pictures=lambda x_t, channels: _twice(
                x_t if channels is None else _joined(channels, x_t)
            )
        ),
        "channels stand in turns; they go in as x_t does, all once, then all again.": _guide(
            pictures=lambda x_t, channels: _beside(
                x_t, channels, lambda x: x.repeat_interleave(2, 0)
            )
        ),
        "The first half has zeros in place of channels; both halves need them: channels go in as "
        "x_t does, all once, then all again.": _guide(
            pictures=lambda x_t, channels: _beside(x_t, channels, lambda x: torch.cat([0 * x, x]))
        ),
        "Guidance goes from the states of one text to those of the other; it belongs to the "
        "U-Net's two answers.": _states,
        "Both halves are still in it, 2B pictures: take them apart with output.chunk(2), then go "
        "from the first to the second.": _guide(
            lambda output, guidance: output, split=lambda output: (output,)
        ),
        "The channels are taken apart, as by chunk(2, dim=1); the two answers lie one after the "
        "other in the batch: chunk(2).": _guide(split=lambda output: output.chunk(2, dim=1)),
        "Nothing comes back. Two returns are needed: guided returns the function model, and model "
        "the guided answer.": lambda *inputs: None,
        "What guided returns is no function; it has to return model itself, without brackets or "
        "anything beside it. `sample` calls it in each step.": lambda *inputs: (),
    },
)


def _refuse():
    raise ValueError("refused")


NONE = "None comes back for what is to be refused: raise a ValueError there."


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
    unfit=_refuse,
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
    yield Case((True, 2), "True: to be refused with a ValueError")
    yield Case(([True, 2], 2), "True in a list: to be refused with a ValueError")
    yield Case(([1, -2], 2), "a list with a negative seed: to be refused with a ValueError")
    yield Case(([1, 2.5], 2), "a list with a fraction: to be refused with a ValueError")
    yield Case(([1, 2], 3), "two seeds for three pictures: to be refused with a ValueError")
    yield Case(([1, 2, 3], 2), "three seeds for two pictures: to be refused with a ValueError")
    yield Case(([], 2), "an empty list: to be refused with a ValueError")


def _run_seeds(answer, seed, count):
    """The seeds; of seeds drawn at random, what is to be seen of them, in words."""
    again = list(seed) if isinstance(seed, list) else seed
    found = answer(seed, count)
    if not isinstance(found, (list, tuple)):
        drawn = seed is None and found is not None and found is not ...
        return "no list" if drawn else found
    if not all(isinstance(number, (Number, torch.Tensor)) for number in found):
        return found
    if seed is None:
        return _drawn([found] + [answer(None, count) for _ in range(19)], count)
    if not all(type(number) is int for number in found):
        return found
    pairs = zip(found, answer(again, count))
    return [a if a == b else "a number drawn at random" for a, b in pairs]


def _drawn(draws, count):
    """What is to be seen of some draws of seeds, in words."""
    numbers = [number for seeds in draws for number in seeds]
    if len(numbers) != count * len(draws):
        return f"{len(draws[0])} of {count} seeds"
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        return "seeds that are no ints from 0 to 2**63 - 1"
    rising = all(b - a == 1 for seeds in draws for a, b in zip(seeds, seeds[1:]))
    different = len(set(map(tuple, draws)))
    often = "the same ones come again soon" if different > 1 else "the same ones each time"
    often = "others each time" if different == len(draws) else often
    return f"{count} seeds, {'' if rising else 'not '}each the one before + 1, {often}"


def _seeds(
    following=lambda seed, count: [seed + i for i in range(count)],
    drawn=lambda count: int(torch.randint(2**31, (1,))),
    right=lambda number: type(number) is int and number >= 0,
    checked=lambda seeds: seeds,
    several=lambda seeds, count: seeds,
    number_right=lambda seeds, count: len(seeds) == count,
    unfit=_refuse,
):
    """A wrong check_seeds: one of its parts is another."""

    def answer(seed, count):
        seed = drawn(count) if seed is None else seed
        seeds = list(seed) if isinstance(seed, (list, tuple)) else [seed]
        if not all(map(right, checked(seeds))):
            return unfit()
        seeds = following(seeds[0], count) if len(seeds) == 1 else several(seeds, count)
        return seeds if number_right(seeds, count) else unfit()

    return answer


def _only_for(which, wrong):
    """A wrong check_seeds, but only for some seeds: so it is found beside other mistakes."""
    return lambda seed, count: (wrong if which(seed) else pipeline.check_seeds)(seed, count)


def _for_a_number(wrong):
    return _only_for(lambda seed: type(seed) is int and seed >= 0, wrong)


def _for_a_list_of_one(wrong):
    return _only_for(lambda seed: isinstance(seed, list) and len(seed) == 1, wrong)


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
        "seed + 2, …": _for_a_number(lambda seed, count: [seed] * count),
        "The first picture has the seed itself, not seed + 1.": _for_a_number(
            lambda seed, count: [seed + 1 + i for i in range(count)]
        ),
        "The given seed does not appear: yours counts from 0.": _for_a_number(
            lambda seed, count: list(range(count))
        ),
        "The seeds go down; the next picture has seed + 1.": _for_a_number(
            lambda seed, count: [seed - i for i in range(count)]
        ),
        "Only one seed comes back; there is one for each picture.": _for_a_number(
            lambda seed, count: [seed]
        ),
        "A list of one counts as a number, so the next pictures have seed + 1, …; in yours all "
        "have the same.": _for_a_list_of_one(lambda seed, count: seed * count),
        "A list of one comes back as it is; it counts as a number, so the next pictures have "
        "seed + 1, …": _for_a_list_of_one(lambda seed, count: seed),
        "A list of one is refused; it counts as a number, so the next pictures have "
        "seed + 1, …": _for_a_list_of_one(lambda seed, count: _refuse()),
        "A given seed is not used, one is drawn all the same: draw only where seed is "
        "None.": _for_a_number(lambda seed, count: pipeline.check_seeds(None, count)),
        "For seed 0 another one is drawn. It is a seed like others, but Python's `not 0` is True: "
        "ask whether seed is None.": _only_for(
            lambda seed: seed == 0, lambda seed, count: pipeline.check_seeds(None, count)
        ),
        "For an empty list a seed is drawn, as for None; its length is wrong: raise a "
        "ValueError.": _only_for(
            lambda seed: seed == [], lambda seed, count: pipeline.check_seeds(None, count)
        ),
        "Nothing comes back where seed is None: draw a number at random, and go on with it as with "
        "a given one.": _only_for(lambda seed: seed is None, lambda seed, count: None),
        "None is refused; it is no error, but says that a seed is to be drawn at random. Draw it "
        "before the checks.": _only_for(lambda seed: seed is None, lambda seed, count: _refuse()),
        "The seeds drawn for None have to be plain ints from 0 to 2**63 - 1, the pipeline takes no "
        "others: int(…) or .item() makes one of a tensor, and secrets.randbelow(2**31) gives "
        "one.": _only_for(
            lambda seed: seed is None, lambda seed, count: [torch.tensor(i) for i in range(count)]
        ),
        "Among 20 draws for None some seeds came again: they are drawn from too few numbers. "
        "secrets.randbelow(2**31) has enough.": _seeds(
            drawn=lambda count: int(torch.randint(10, (1,)))
        ),
        "None has to give another seed each time; yours gave the same in 20 calls, one right after "
        "the other.": _seeds(drawn=lambda count: 0),
        "None: one seed is drawn, and each of the others is the one before + 1, so that one number "
        "is enough to ask for the same pictures again.": _seeds(
            drawn=lambda count: [int(torch.randint(2**31, (1,))) for _ in range(count)]
        ),
        "A list's entries are not checked: each has to be an int of 0 or more, or else raise a "
        "ValueError.": _only_for(
            lambda seed: isinstance(seed, list), _seeds(right=lambda number: True)
        ),
        "A number that stands alone is not checked: it has to be an int of 0 or more, or else "
        "raise a ValueError.": _only_for(
            lambda seed: isinstance(seed, (int, float)), _seeds(right=lambda number: True)
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
        "True alone is accepted: isinstance(True, int) holds, type(True) is int does "
        "not.": _only_for(
            lambda seed: seed is True, lambda seed, count: [1 + i for i in range(count)]
        ),
        "Of a list only the first seed is checked.": _seeds(checked=lambda seeds: seeds[:1]),
        "Floats are turned into whole numbers in silence, as by int(); raise a "
        "ValueError.": _only_for(
            lambda seed: isinstance(seed, float),
            lambda seed, count: [int(seed) + i for i in range(count)],
        ),
        "A list of the wrong length is accepted: raise a ValueError.": _seeds(
            number_right=lambda seeds, count: True
        ),
        "A list that is too long is cut in silence: raise a ValueError.": _seeds(
            several=lambda seeds, count: seeds[:count]
        ),
        "Of a list only the first counts in yours; each picture has its own.": _seeds(
            several=lambda seeds, count: [seed + i for seed in seeds[:1] for i in range(count)]
        ),
        "A list is put in order; the first seed is the first picture's.": _seeds(
            several=lambda seeds, count: sorted(seeds)
        ),
        NONE: _seeds(unfit=lambda: None),
    },
)


def _skip_cases():
    yield Case((0.8, 25), "strength 0.8, 25 steps")
    yield Case((0.5, 15), "half of 15 steps")
    yield Case((0.35, 15), "strength 0.35, 15 steps")
    yield Case((0.7, 10), "strength 0.7, 10 steps")
    yield Case((0.55, 10), "strength 0.55, 10 steps")
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
    unfit=_refuse,
):
    """A wrong skipped: one of its parts is another."""

    def answer(strength, steps):
        count = taken(strength, steps)
        if not right(strength, count):
            return unfit()
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
        "(1 - strength) · steps is a hair above 3 for strength 0.7 and 10 steps, and ceil makes 4 "
        "of it; cut the steps taken: steps - int(steps * strength).": _skip(
            lambda strength, steps: steps - math.ceil(steps * (1 - strength))
        ),
        "The steps left out, (1 - strength) · steps, are rounded; cut those taken: steps - "
        "int(steps * strength).": _skip(
            lambda strength, steps: steps - round(steps * (1 - strength))
        ),
        "It is always 20 steps of which the share is taken; steps says how many there are.": _skip(
            lambda strength, steps: int(20 * strength), result=lambda steps, taken: 20 - taken
        ),
        "Where no step is left, one is taken all the same: raise a ValueError there.": _skip(
            lambda strength, steps: max(1, int(steps * strength))
        ),
        NONE: _skip(unfit=lambda: None),
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
