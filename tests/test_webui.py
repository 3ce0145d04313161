"""The web UI's prompt syntax: what each sign means, and what becomes of it in the picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_pipeline import make

from sdlearn.prompt_syntax import at_step, composed, parse, schedule, weighted
from sdlearn.samplers import SAMPLERS
from sdlearn.single_file import clip_tokenizer
from sdlearn.webui import WebUI, chunks, encode

SIGNS = st.text(st.sampled_from("ab :|()[]\\.,1AND"), max_size=40)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a plain text", [("a plain text", 1.0)]),
        ("a (red) hat", [("a ", 1.0), ("red", 1.1), (" hat", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("[red]", [("red", 1 / 1.1)]),
        ("(red:1.4)", [("red", 1.4)]),
        ("(red : 1.4 )", [("red ", 1.4)]),
        ("(red:-.5)", [("red", -0.5)]),
        ("((red:2) hat)", [("red", 2.2), (" hat", 1.1)]),
        ("([red])", [("red", 1.0)]),
        ("(red [hat)]", [("red ", 1.1), ("hat", 1.0)]),  # each sign has brackets of its own
        ("(red", [("red", 1.1)]),
        ("[red (hat", [("red ", 1 / 1.1), ("hat", 1.0)]),
        ("red) hat]", [("red) hat]", 1.0)]),
        (r"\(red\) \[hat\] \\", [("(red) [hat] \\", 1.0)]),
        (r"(red\)", [("red)", 1.1)]),
        ("a\\b", [("ab", 1.0)]),  # a sign of its own only when it is doubled
        ("a: b", [("a: b", 1.0)]),
        ("(a:b:1.5)", [("a:b", 1.5)]),
        ("(red:1.2.3)", [("red:1.2.3)", 1.1)]),  # no number, so the bracket is not closed
        ("red:1.4)", [("red:1.4)", 1.0)]),
        ("(a)(b)", [("ab", 1.1)]),
        ("", []),
        ("()", []),
    ],
)  # fmt: skip
def test_weights(text, expected):
    (found,) = weighted(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


def test_the_weights_of_a_long_example():
    (found,) = weighted("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).")
    assert {piece.strip(): round(weight, 4) for piece, weight in found} == {
        "a": 1.1, "house": 1.573, "": 1.1, "on": 1.0, "hill": 0.55, ", sun,": 1.1,
        "sky": 1.4641, ".": 1.1,
    }  # fmt: skip
    assert found[0] == ("a ", 1.0)


def test_break():
    assert weighted("a BREAK b") == [[("a", 1.0)], [("b", 1.0)]]
    assert weighted("(a BREAK b:2) c") == [[("a", 2.0)], [("b", 2.0), (" c", 1.0)]]
    assert weighted("BREAK") == [[], []]
    assert weighted("BREAKFAST") == [[("BREAKFAST", 1.0)]]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a cat", [(10, "a cat")]),
        ("a [red:blue:4] cat", [(4, "a red cat"), (10, "a blue cat")]),
        ("a [red:blue:0.4] cat", [(4, "a red cat"), (10, "a blue cat")]),
        ("a [red:blue: .4 ] cat", [(4, "a red cat"), (10, "a blue cat")]),
        ("[hat:3]", [(3, ""), (10, "hat")]),
        ("[hat::3]", [(3, "hat"), (10, "")]),
        ("[:hat:3]", [(3, ""), (10, "hat")]),
        ("[hat:0]", [(10, "hat")]),
        ("[hat:99]", [(10, "")]),
        ("[a:1.2]", [(10, "")]),  # a schedule, not a weight: from a step that never comes
        ("[a:b:1.0]", [(10, "a")]),  # one point nought: all steps
        ("[a:b:1]", [(1, "a"), (10, "b")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("[a:[b:c:6]:3]", [(3, "a"), (6, "b"), (10, "c")]),
        ("[[a]:3]", [(3, ""), (10, "[a]")]),
        ("([a:b:3]:1.5)", [(3, "(a:1.5)"), (10, "(b:1.5)")]),
        (r"[a\:b:3]", [(3, ""), (10, r"a\:b")]),
        ("[a:b:c:3]", [(10, "[a:b:c:3]")]),
        ("[a|b:3]", [(10, "[a|b:3]")]),
        ("[a:b]", [(10, "[a:b]")]),
        ("a [open", [(10, "a [open")]),
        ("a] [b:3] [", [(3, "a]  ["), (10, "a] b [")]),
        ("a | [b:3]", [(10, "a | [b:3]")]),  # a bar outside of brackets: all of it is text
    ],
)
def test_schedules(text, expected):
    assert schedule(text, 10) == expected


def test_turns():
    assert [at_step("[a|b|c]", step, 6) for step in range(1, 7)] == list("abcabc")
    assert [at_step("[fe|]male", step, 4) for step in range(1, 5)] == 2 * ["female", "male"]
    assert at_step("[(a:1.1)|b]", 1, 4) == "(a:1.1)"


def test_and():
    assert composed("a cat") == [("a cat", 1.0)]
    assert composed("a cat :1.2 AND a dog AND sky : -0.5 ") == [
        ("a cat", 1.2), (" a dog", 1.0), (" sky", -0.5),
    ]  # fmt: skip
    assert composed("LAND AND x:y") == [("LAND", 1.0), (" x:y", 1.0)]


@given(SIGNS)
def test_no_text_is_an_error(text):
    for step, prompt in schedule(text, 3):
        assert 1 <= step <= 3
        for part in weighted(prompt):
            assert all(isinstance(weight, float) for _, weight in part)
    assert composed(text)


@pytest.mark.parametrize("text", ["[" * 5000, "([" * 2000, "[a:" * 3000 + "b" + ":1]" * 3000])
def test_thousands_of_brackets(text):
    parse(text)
    assert at_step(text, 1, 10)
    weighted(text)


# --- chunks and states ----------------------------------------------------------------------------


def test_chunks_of_long_prompts():
    tokenizer = clip_tokenizer()
    rows = chunks("red " * 100, tokenizer)
    assert [len(row) for row in rows] == [75, 25]
    # After a comma among the last twenty; one that is further back does not count.
    rows = chunks("red " * 60 + ", " + "hat " * 40, tokenizer)
    assert [len(row) for row in rows] == [61, 40]
    rows = chunks("red " * 40 + ", " + "hat " * 60, tokenizer)
    assert [len(row) for row in rows] == [75, 26]
    assert [len(row) for row in chunks("a BREAK b c", tokenizer)] == [1, 2]
    assert [len(row) for row in chunks("", tokenizer)] == [0]
    weights = [weight for _, weight in chunks("a (b:1.5) c", tokenizer)[0]]
    assert weights == [1.0, 1.5, 1.0]


@pytest.fixture(scope="module")
def parts():
    pipeline = make()
    pipeline.__class__ = WebUI
    return pipeline


def test_plain_text_has_the_usual_states(parts):
    text = "a red hat"
    usual = parts.text_encoder(parts.tokenizer(text))
    assert torch.equal(encode(text, parts.tokenizer, parts.text_encoder), usual)


def test_weights_multiply_and_the_mean_is_restored(parts):
    text, z = "a (red:1.5) hat", parts.text_encoder(parts.tokenizer("a red hat"))
    row = chunks(text, parts.tokenizer)[0]
    factor = torch.ones(z.shape[1])
    factor[1 : 1 + len(row)] = torch.tensor([weight for _, weight in row])
    assert (factor == 1.5).any()
    found = encode(text, parts.tokenizer, parts.text_encoder)
    torch.testing.assert_close(found.mean(), z.mean())
    scaled = z * factor[:, None]
    torch.testing.assert_close(found, scaled * (z.mean() / scaled.mean()))


def test_clip_skip_leaves_out_layers(parts):
    usual = parts.text_encoder(parts.tokenizer("hat"), skip=1)
    assert torch.equal(encode("hat", parts.tokenizer, parts.text_encoder, skip=1), usual)
    other = WebUI(parts.unet, parts.vae, parts.text_encoder, parts.tokenizer, parts.schedule)
    other.clip_skip = 2
    settings = {"steps": 2, "seed": 0, "size": 32}
    assert apart(parts("hat", **settings), other("hat", **settings)) > 0


def apart(a, b):
    return max(int(np.abs(np.asarray(x).astype(int) - np.asarray(y)).max()) for x, y in zip(a, b))


OPTIONS = {"steps": 4, "seed": 0, "size": 32, "guidance": 5.0}


def test_plain_prompts_are_drawn_as_ever(parts):
    prompts = ["a red hat", "a cat"]
    for sampler in SAMPLERS:
        options = {**OPTIONS, "sampler": sampler}
        usual = make()(prompts, "blue", **options)
        assert apart(parts(prompts, "blue", **options), usual) <= 1, sampler
    unguided = {**OPTIONS, "guidance": 1}
    assert apart(parts("a cat", **unguided), make()("a cat", **unguided)) <= 1


def test_a_prompt_is_the_same_alone_or_among_longer_ones(parts):
    long = "red hat, " * 30
    (alone,) = parts("a (cat:1.3)", **OPTIONS)
    both = parts(["a (cat:1.3)", long + " AND blue"], **OPTIONS)
    assert apart([alone], both[:1]) <= 1


def test_schedules_reach_the_network_at_their_step(parts):
    asked = []

    class Spy(torch.nn.Module):
        def __init__(self, unet):
            super().__init__()
            self.config, self.conv_in, self.unet = unet.config, unet.conv_in, unet

        def forward(self, x, t, context):
            asked.append((int(t[0]), context))
            return self.unet(x, t, context)

    spied = WebUI(Spy(parts.unet), parts.vae, parts.text_encoder, parts.tokenizer, parts.schedule)
    spied("[red:blue:2]", **{**OPTIONS, "sampler": "euler"})
    states = [encode(word, parts.tokenizer, parts.text_encoder) for word in ("red", "blue")]
    assert [torch.equal(context[:1], states[0]) for _, context in asked] == [True] * 2 + [False] * 2
    assert [torch.equal(context[:1], states[1]) for _, context in asked] == [False] * 2 + [True] * 2


def test_and_adds_the_answers_up(parts):
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([500])
    parts.steps = 4
    answer = lambda *texts: parts.unet(  # noqa: E731
        x, t, torch.cat([encode(text, parts.tokenizer, parts.text_encoder) for text in texts])
    )
    empty, red, hat = (answer(text) for text in ("", "red", "hat"))
    found = parts.guided(["red :0.5 AND hat"], [""], 3.0)(x, t)
    torch.testing.assert_close(found, empty + 3 * (0.5 * (red - empty) + (hat - empty)))
