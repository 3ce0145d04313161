"""Chapter 10: the exercise `pipeline.guided`."""

from types import SimpleNamespace

import torch

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
