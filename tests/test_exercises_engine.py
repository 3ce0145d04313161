"""The exercise engine, on a small bank of its own: verdicts, diagnoses, safety, records."""

import _thread
import json
import math
import random
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sdlearn.exercises
from sdlearn import diffusion
from sdlearn.exercises import bank, board, compare, engine, exercise, hint, progress, results
from sdlearn.exercises import solution as show_solution
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.compare import Refused
from sdlearn.exercises.trial import Trial, limited
from sdlearn.intervals import wilson
from sdlearn.schedule import NoiseSchedule, extract

# ---- a bank ----------------------------------------------------------------------------------


def alpha_bar(schedule, t, x):
    return extract(schedule.alphas_cumprod, t, x)


def q_cases():
    for t, label in [
        ([7, 7], "both pictures have the same t"),
        ([0, 60], "t differs between the pictures"),
        ([99, 3, 40], "three pictures"),
    ]:
        x0 = torch.randn(len(t), 3, 4, 5)
        yield Case((x0, torch.tensor(t), NoiseSchedule.linear(100), torch.randn_like(x0)), label)


def posterior_cases():
    for t in ([5, 50], [0, 99]):
        x0 = torch.randn(2, 3, 4, 4)
        yield Case((x0, torch.randn_like(x0), torch.tensor(t), NoiseSchedule.linear(100)), str(t))


def draw(x, generator):
    return x + torch.randn(x.shape, generator=generator)


def draw_cases():
    for seed in (1, 2):
        yield Case((torch.randn(3, 2), torch.Generator().manual_seed(seed)), f"seed {seed}")


class Scale(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def loss(model, x, y):
    return (model(x) - y).square().mean()


def loss_cases():
    for n in (2, 3, 4):
        weight = torch.full((1,), 0.7, requires_grad=True)
        yield Case(
            (lambda x, w=weight: x * w, torch.randn(n, 5), torch.randn(n, 5)), f"{n} pictures"
        )


def average(weights, new, decay):
    weights.mul_(decay).add_(new, alpha=1 - decay)


def run_average(answer, weights, new, decay):
    answer(weights, new, decay)
    return weights


def latent_size(height, factor=8):
    return height // factor


def distance(a, b):
    if len(a) != len(b):
        raise ValueError("two lengths")
    return (a - b).square().sum().sqrt().item()


def distance_cases():
    for n, m, label in ((2, 2, "two"), (5, 5, "five"), (2, 3, "two and three")):
        yield Case((torch.randn(n), torch.randn(m)), label)


EXERCISES = [
    Exercise(
        "demo.q_sample",
        diffusion.q_sample,
        q_cases,
        ["Two numbers.", "Their squares add up to 1.", "√ᾱ and √(1-ᾱ)."],
        {
            "The noise is scaled by 1-ᾱ; it should be √(1-ᾱ).": lambda x0, t, s, n: (
                alpha_bar(s, t, x0).sqrt() * x0 + (1 - alpha_bar(s, t, x0)) * n
            ),
            "One t is used for all pictures.": lambda x0, t, s, n: diffusion.q_sample(
                x0, t[:1].expand(len(x0)), s, n
            ),
        },
        seconds=1.0,
    ),
    Exercise(
        "demo.posterior",
        diffusion.q_posterior,
        posterior_cases,
        ["One.", "Two."],
        {
            "The variance is β_t; it should be β̃_t.": lambda x0, x_t, t, s: (
                diffusion.q_posterior(x0, x_t, t, s)[0],
                extract(s.betas, t, x0),
            ),
        },
        returns=("mean", "variance"),
    ),
    Exercise("demo.draw", draw, draw_cases, ["One.", "Two."], {}),
    Exercise(
        "demo.Scale",
        Scale,
        lambda: [Case((f, torch.randn(2, 3)), f"factor {f}") for f in (2.0, 3.0)],
        ["One.", "Two."],
        {
            "It divides.": lambda factor: Scale(1 / factor),
        },
        run=lambda answer, factor, x: answer(factor)(x),
    ),
    Exercise("demo.loss", loss, loss_cases, ["One.", "Two."], {}),
    Exercise(
        "demo.average",
        average,
        lambda: [Case((torch.randn(4), torch.randn(4), d), f"decay {d}") for d in (0.5, 0.9)],
        ["One.", "Two."],
        {},
        run=run_average,
        changes=("weights",),
    ),
    Exercise(
        "demo.latent_size",
        latent_size,
        lambda: [Case((n,), f"height {n}") for n in (64, 512, 768)],
        ["One.", "Two."],
        {},
    ),
    Exercise("demo.distance", distance, distance_cases, ["One.", "Two."], {}, refuses=ValueError),
]


@pytest.fixture(autouse=True)
def demo(monkeypatch, tmp_path):
    """The bank above as chapter 90, and an empty record in memory."""
    (tmp_path / "ch90.py").write_text(f"from {__name__} import EXERCISES\n", encoding="utf-8")
    path = [*sdlearn.exercises.__path__, str(tmp_path)]
    monkeypatch.setattr(sdlearn.exercises, "__path__", path)
    monkeypatch.setenv("SDLEARN_PROGRESS", "off")
    monkeypatch.delenv("SDLEARN_STRICT", raising=False)
    for state in (board._memory, board._told, board._shown, engine._hints_given):
        state.clear()
    yield
    sys.modules.pop("sdlearn.exercises.ch90", None)


@pytest.fixture
def told(capsys):
    """Runs an answer through its exercise; gives what was printed and what came back."""

    def run(name, answer):
        capsys.readouterr()
        back = exercise(name)(answer)
        return capsys.readouterr().out, back

    return run


def rightly(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


# ---- verdicts --------------------------------------------------------------------------------


def test_right_answer_is_ticked_and_given_back_itself(told):
    out, back = told("demo.q_sample", rightly)
    assert out == "✓ demo.q_sample: right. Your own version is used below.\n"
    assert back is rightly
    assert results()["demo.q_sample"]["status"] == "right"


NOT_DONE = (
    "demo.q_sample: not done yet, the course's own version is used below. "
    "hint('demo.q_sample') helps.\n"
)


def only_dots(x0, t, schedule, noise):
    """Jump from x_0 straight to x_t."""
    ...


def only_pass(x0, t, schedule, noise):
    pass


def not_implemented(x0, t, schedule, noise):
    raise NotImplementedError("your turn")


def blank_left(x0, t, schedule, noise):
    factor = ...
    return factor * x0


def blank_returned(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)  # noqa: F841
    return ...  # the noisy picture, from a


@pytest.mark.parametrize(
    "stub", [only_dots, only_pass, not_implemented, blank_left, blank_returned, lambda *a: None]
)
def test_untouched_answer_gives_the_reference_and_one_line(told, stub):
    out, back = told("demo.q_sample", stub)
    assert out == NOT_DONE
    assert back is diffusion.q_sample
    assert results()["demo.q_sample"]["attempts"] == 0


def test_untouched_tuple(told):
    def posterior(x0, x_t, t, schedule):
        return ..., ...

    assert "not done yet" in told("demo.posterior", posterior)[0]


def test_untouched_class(told):
    class Scale(torch.nn.Module): ...

    assert "not done yet" in told("demo.Scale", Scale)[0]

    class Scale(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()

        def forward(self, x): ...

    assert "not done yet" in told("demo.Scale", Scale)[0]


def test_forgotten_return_is_not_untouched(told):
    def q_sample(x0, t, schedule, noise):
        x_t = rightly(x0, t, schedule, noise)  # noqa: F841

    out, _ = told("demo.q_sample", q_sample)
    assert "not right yet" in out and "is a return missing?" in out


def test_ellipsis_in_an_index_is_not_a_blank(told):
    def q_sample(x0, t, schedule, noise):
        return undefined_name * schedule.alphas_cumprod[t][..., None, None, None]  # noqa: F821

    assert "undefined_name" in told("demo.q_sample", q_sample)[0]


def test_known_mistake_gets_its_sentence_and_the_reference_is_used(told):
    def q_sample(x0, t, schedule, noise):
        a = alpha_bar(schedule, t, x0)
        return a.sqrt() * x0 + noise - a * noise

    out, back = told("demo.q_sample", q_sample)
    assert out == (
        "✗ demo.q_sample: not right yet.\n"
        "  The noise is scaled by 1-ᾱ; it should be √(1-ᾱ).\n"
        "  The course's own version is used below until yours is right. "
        "hint('demo.q_sample') helps.\n"
    )
    assert back is diffusion.q_sample


def test_mistake_is_known_where_it_matters(told):
    def q_sample(x0, t, schedule, noise):
        if t[0] == t[1]:  # the known mistake makes no difference here, this one does
            return -rightly(x0, t, schedule, noise)
        return rightly(x0, t[:1].expand(len(t)), schedule, noise)

    assert "One t is used for all pictures." in told("demo.q_sample", q_sample)[0]


def test_of_two_mistakes_in_a_tuple_one_is_known(told):
    def posterior(x0, x_t, t, schedule):
        return x_t, extract(schedule.betas, t, x0)

    assert "The variance is β_t; it should be β̃_t." in told("demo.posterior", posterior)[0]


def test_last_run_counts(told):
    def wrong(x0, t, schedule, noise):
        return -rightly(x0, t, schedule, noise)

    seen = []
    for answer in (wrong, rightly, rightly, wrong, only_dots, rightly):
        _, back = told("demo.q_sample", answer)
        assert back is (answer if answer is rightly else diffusion.q_sample)
        record = results()["demo.q_sample"]
        seen.append((record["status"], record["attempts"], bool(record["message"])))
    assert seen == [
        ("wrong", 1, True),
        ("right", 2, False),
        ("right", 2, False),  # running a right cell again is no further attempt
        ("wrong", 3, True),
        ("untouched", 3, False),
        ("right", 4, False),
    ]


def test_strict_raises_for_all_but_right(monkeypatch):
    monkeypatch.setenv("SDLEARN_STRICT", "1")
    assert exercise("demo.q_sample")(rightly) is rightly
    with pytest.raises(engine.ExerciseError, match="not done yet"):
        exercise("demo.q_sample")(only_dots)
    with pytest.raises(AssertionError, match="minus what it should be"):
        exercise("demo.q_sample")(lambda x0, t, schedule, noise: -rightly(x0, t, schedule, noise))
    assert results()["demo.q_sample"]["status"] == "wrong"


def test_wrong_use_of_the_decorator():
    with pytest.raises(ValueError, match="demo.q_sample"):
        exercise("demo.q_smaple")
    with pytest.raises(TypeError, match='@exercise\\("forward.q_sample"\\)'):

        @exercise
        def q_sample(x0, t, schedule, noise): ...

    with pytest.raises(TypeError, match="your def or class"):
        exercise("demo.q_sample")(torch.zeros(2))


# ---- diagnosis of answers that no list has ----------------------------------------------------

WRONG = {}


def wrong(*words):
    """Registers a wrong answer to demo.q_sample with what the message must say about it."""

    def register(answer):
        WRONG[answer.__name__] = answer, words
        return answer

    return register


@wrong("a numpy array", "a tensor of shape [2, 3, 4, 5] is expected")
def gives_numpy(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).numpy()


@wrong("a list of 2 values", "Return one tensor")
def gives_list(x0, t, schedule, noise):
    return list(rightly(x0, t, schedule, noise))


@wrong("a tuple of 1 value", "stray comma")
def stray_comma(x0, t, schedule, noise):
    return (rightly(x0, t, schedule, noise),)


@wrong("float", "a tensor of shape [2, 3, 4, 5] is expected")
def gives_float(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).mean().item()


@wrong("shape [2, 3, 5, 4]", "transposed")
def transposed(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).transpose(2, 3)


@wrong("shape [3, 4, 5]", "the batch of 2, is missing")
def without_batch(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise)[0]


@wrong("shape [2, 1, 3, 4, 5]", "size 1", "unsqueeze")
def unsqueezed(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).unsqueeze(1)


@wrong("shape [2, 60]", "number of elements is right")
def flattened(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).flatten(1)


@wrong("shape [2, 2, 3, 4, 5]", "wrong axis", ".view(-1, 1, 1, 1)")
def grown(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)[:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


@wrong("torch.float64", "torch.float32 is expected")
def in_double(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).double()


@wrong("device meta", "cpu")
def elsewhere(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).to("meta")


@wrong("NaN in 60 of 180 numbers", "root", 'the case "three pictures"')
def nan_for_large_t(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise) / (t < 90).float().view(-1, 1, 1, 1).sub(0.5).sqrt()


@wrong("NaN in 1 and infinite in 119 of 120", "division by zero")
def nan_and_infinite(x0, t, schedule, noise):
    x = rightly(x0, t, schedule, noise)
    return torch.where(x == x.max(), x - x, x) / 0


@wrong("infinite in 1 of 120", "division by zero")
def infinite(x0, t, schedule, noise):
    x = rightly(x0, t, schedule, noise)
    return torch.where(x == x.max(), x / 0, x)


@wrong("minus what it should be", "sign")
def negative(x0, t, schedule, noise):
    return -rightly(x0, t, schedule, noise)


@wrong("2 times what it should be")
def doubled(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise) * 2


@wrong("plus 0.5")
def shifted(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise) + 0.5


@wrong("cut off at -1 below and 1 above", "clamp")
def clamped(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).clamp(-1, 1)


@wrong("the square of what it should be")
def squared(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).square()


@wrong("0 everywhere", "taken from itself")
def zeros(x0, t, schedule, noise):
    return torch.zeros_like(x0)


@wrong("x0 is multiplied by the square", "a square root is missing", "noise is right")
def no_root(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)
    return a * x0 + (1 - a).sqrt() * noise


@wrong("noise is multiplied by minus what it should be", "What you do with x0 is right")
def minus_noise(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)
    return a.sqrt() * x0 - (1 - a).sqrt() * noise


@wrong("noise is multiplied by √(1-c²) where c is expected", "What you do with x0 is right")
def same_factor(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)
    return a.sqrt() * x0 + a.sqrt() * noise


@wrong("x0 is multiplied by one divided by", "multiply where you divide")
def divided(x0, t, schedule, noise):
    a = alpha_bar(schedule, t, x0)
    return x0 / a.sqrt() + (1 - a).sqrt() * noise


@wrong("x0 is multiplied by 1 where 0.6", "noise is right")
def unscaled(x0, t, schedule, noise):
    return x0 + (1 - alpha_bar(schedule, t, x0)).sqrt() * noise


@wrong("x0 is multiplied by 0.9", "noise is multiplied by 0.")
def one_step(x0, t, schedule, noise):
    return diffusion.q_step(x0, t, schedule, noise)


@wrong("With x0 set to 0", "that term")
def clamped_picture(x0, t, schedule, noise):
    return rightly(x0.clamp(-1, 1), t, schedule, noise)


@wrong("x0 and noise exchanged")
def exchanged(x0, t, schedule, noise):
    return rightly(noise, t, schedule, x0)


@wrong("t +1", "off by one")
def next_t(x0, t, schedule, noise):
    return rightly(x0, (t + 1).clamp(max=99), schedule, noise)


@wrong("t -1", "off by one")
def previous_t(x0, t, schedule, noise):
    a = schedule.alphas_cumprod[t - 1].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


@wrong("close", "largest difference", "e-0")
def in_half(x0, t, schedule, noise):
    return rightly(x0, t, schedule, noise).half().float()


@wrong("draws random numbers", "Use what is handed in: noise.")
def own_noise(x0, t, schedule, noise):
    return rightly(x0, t, schedule, torch.randn_like(noise))


@wrong("does not change when t changes", "[")
def fixed_t(x0, t, schedule, noise):
    return rightly(x0, torch.zeros_like(t), schedule, noise)


@wrong("does not change when noise changes")
def no_noise(x0, t, schedule, noise):
    return alpha_bar(schedule, t, x0).sqrt() * x0


@wrong("where t is that of the first picture", 'right in the case "both pictures have the same t"')
def first_only(x0, t, schedule, noise):
    first = rightly(x0, t, schedule, noise)
    first[1:] += (t[1:] != t[0]).float().view(-1, 1, 1, 1) * x0[1:].square()
    return first


@wrong("Wrong only where t is 0")
def wrong_at_zero(x0, t, schedule, noise):
    x = rightly(x0, t, schedule, noise)
    return torch.where((t == 0).view(-1, 1, 1, 1), x.abs().exp(), x)


@wrong("Only the first picture of a batch is right.")
def all_like_the_first(x0, t, schedule, noise):
    return rightly(x0[:1].expand_as(x0), t, schedule, noise[:1].expand_as(x0))


@wrong("x0 is multiplied by 0 where 0.")
def no_picture(x0, t, schedule, noise):
    return rightly(x0 * (t == 7).view(-1, 1, 1, 1), t, schedule, noise)


@wrong("a function or class (are the brackets of a call missing?)")
def not_called(x0, t, schedule, noise):
    return x0.clone


@wrong("at [0, 0, 0, 2]", "expected", "got 7", 'case "both pictures have the same t"')
def one_element(x0, t, schedule, noise):
    x = rightly(x0, t, schedule, noise)
    x[0, 0, 0, 2] = 7
    return x


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answer_is_pointed_at(told, name):
    answer, words = WRONG[name]
    out, back = told("demo.q_sample", answer)
    assert "✗ demo.q_sample: not right yet." in out
    for word in words:
        assert word in out
    assert back is diffusion.q_sample


def posterior_with_before(before):
    """A posterior whose ᾱ before the first step is not 1."""

    def posterior(x0, x_t, t, schedule):
        bars = schedule.alphas_cumprod
        previous = torch.cat([before(bars), bars[:-1]])
        a, p, b = (extract(table, t, x0) for table in (bars, previous, schedule.betas))
        mean = p.sqrt() * b * x0 + (1 - b).sqrt() * (1 - p) * x_t
        return mean / (1 - a), b * (1 - p) / (1 - a)

    return posterior


@pytest.mark.parametrize("index", [slice(1), slice(-1, None)], ids=["first", "last"])
def test_wrong_only_where_the_index_is_zero(told, index):
    out, _ = told("demo.posterior", posterior_with_before(lambda bars: bars[index]))
    assert "Wrong only where t is 0" in out and "t - 1" in out
    assert "multiplied" not in out and "clamp." not in out
    assert "✓" in told("demo.posterior", posterior_with_before(lambda b: torch.ones(1)))[0]


def test_a_rule_holds_in_all_cases_or_is_not_said(told):
    def posterior(x0, x_t, t, schedule):  # all pictures suffer where one of them has t = 0
        mean, variance = diffusion.q_posterior(x0, x_t, t, schedule)
        if bool((t == 0).any()):
            mean[t != 0] = mean[t != 0].square()
        return mean, variance

    out, _ = told("demo.posterior", posterior)
    assert "not yet" in out and "Only the first" not in out and "Right only" not in out


def test_rows_that_share_the_first_t(told):
    def posterior(x0, x_t, t, schedule):
        return diffusion.q_posterior(x0, x_t, t[:1].expand(len(t)), schedule)

    out, _ = told("demo.posterior", posterior)
    assert "Right only where t is that of the first picture" in out


# ---- tuples, numbers, losses, classes, generators ----------------------------------------------


def test_tuple_answer_names_its_part(told):
    def posterior(x0, x_t, t, schedule):
        mean, variance = diffusion.q_posterior(x0, x_t, t, schedule)
        return mean, variance.sqrt()

    out, _ = told("demo.posterior", posterior)
    assert "mean: right. variance: not yet." in out
    assert "Your variance is the square root of what it should be" in out


def test_tuple_answer_of_wrong_form(told):
    def lone(x0, x_t, t, schedule):
        return diffusion.q_posterior(x0, x_t, t, schedule)[0]

    def three(x0, x_t, t, schedule):
        return *diffusion.q_posterior(x0, x_t, t, schedule), 1

    def swapped(x0, x_t, t, schedule):
        return diffusion.q_posterior(x0, x_t, t, schedule)[::-1]

    def squeezed(x0, x_t, t, schedule):
        mean, variance = diffusion.q_posterior(x0, x_t, t, schedule)
        return mean, variance.flatten()

    assert "2 values are expected: mean, variance" in told("demo.posterior", lone)[0]
    assert "has 3 values; 2 values are expected" in told("demo.posterior", three)[0]
    assert "wrong order: return mean, variance" in told("demo.posterior", swapped)[0]
    assert "Your answer's variance has shape [2]" in told("demo.posterior", squeezed)[0]


def test_whole_numbers(told):
    assert "one int is expected" in told("demo.latent_size", lambda height: height / 8)[0]
    assert "4 times what it should be" in told("demo.latent_size", lambda height: height // 2)[0]
    assert "✓" in told("demo.latent_size", lambda height: height // 8)[0]
    assert "✓" in told("demo.latent_size", lambda height, factor=8: height // factor)[0]


def test_whole_numbers_must_be_exact(told, monkeypatch):
    def count(n, kind):
        return kind(n)

    kinds = {"int": int, "tensor": lambda n: torch.tensor([1, n]), "list": lambda n: [n, n]}
    cases = [Case((859_520_964 + i, kind), name) for i, (name, kind) in enumerate(kinds.items())]
    for case in cases:
        one = Exercise("demo.n", count, lambda case=case: [case], ["One.", "Two."], {})
        monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
        sys.modules.pop("sdlearn.exercises.ch90", None)
        out, _ = told("demo.n", lambda n, kind: count(n + 10, kind))
        assert f"expected {case.args[0]}, got {case.args[0] + 10}." in out
        assert "close" not in out


@pytest.mark.parametrize(
    "value, words",
    [
        (lambda d: float("nan"), "Your answer is nan: a root"),
        (lambda d: d / 0.0 if d else d, "stopped with ZeroDivisionError"),
        (lambda d: float("inf"), "Your answer is inf: a division by zero?"),
        (lambda d: complex(d), "Your answer is complex; take .real."),
        (lambda d: torch.tensor(complex(d)), "Your answer is complex; take .real."),
        (lambda d: torch.tensor(d), ".item() is a plain number"),
        (lambda d: min(d, 0.5), "First difference"),
        (lambda d: 2 * d, "2 times what it should be"),
    ],
)
def test_one_number(told, value, words):
    out, _ = told("demo.distance", lambda a, b: value(distance(a, b)))
    assert words in out and "close" not in out and "clamp" not in out


def test_what_has_to_be_refused(told):
    def never(a, b):
        n = min(len(a), len(b))
        return distance(a[:n], b[:n])

    def always(a, b):
        raise ValueError("no")

    def otherwise(a, b):
        raise TypeError("no")

    assert "✓" in told("demo.distance", lambda a, b: distance(a, b))[0]
    out, _ = told("demo.distance", never)
    assert "A ValueError is expected here; what your code returns is " in out
    assert 'in the case "two and three"' in out
    out, _ = told("demo.distance", always)
    assert "Your code raises a ValueError where 3.81833 is right. It says: no" in out
    less = Exercise("demo.less", distance, distance_cases, [], {}, refuses=ValueError)
    trial, gots = Trial(less, None), [Refused()] * 3
    refs = [trial.call(distance, i) for i in range(3)]
    less.mistakes["One."] = lambda a, b: distance(a, b) if len(a) == 2 else always(a, b)
    assert engine.known_mistake(trial, refs, gots) is None  # it refuses more than the mistake does
    assert "stopped with TypeError" in told("demo.distance", otherwise)[0]
    for returned in (ValueError("no"), ValueError):
        out, _ = told(
            "demo.distance", lambda a, b, x=returned: distance(a, b) if len(a) == len(b) else x
        )
        assert "The ValueError is returned, and stops nothing: raise ValueError(…)" in out


def test_named_tuples(told, monkeypatch):
    def both(x):
        return wilson(x > 0), wilson(x > 1)

    cases = lambda: [Case((torch.randn(9),), "nine")]  # noqa: E731
    known = {"Twice the first.": lambda x: (wilson(x > 0),) * 2}
    one = Exercise("demo.both", both, cases, [], known, returns=("above 0", "above 1"))
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    lone = "Your answer is a Share; 2 values are expected: above 0, above 1."
    assert lone in told("demo.both", lambda x: wilson(x > 0))[0]
    out, _ = told("demo.both", lambda x: (0.5, 0.5))
    assert "above 0 is the float 0.5; a Share is expected: Share(share, low, high, number)." in out
    out, _ = told("demo.both", lambda x: (wilson(x > 0, 0.5), wilson(x > 1)))
    assert "chance is the float 0.5; None is expected." in out
    out, _ = told("demo.both", lambda x: (wilson(x > 0), wilson(x > -9)))
    assert "got 100.0% of 9 (95%: 70.1 to 100.0)." in out


def test_values_that_read_the_same_backwards_are_in_no_wrong_order(told, monkeypatch):
    def sizes(size):
        width, height = size if isinstance(size, tuple) else (size, size)
        return height // 8, width // 8

    cases = lambda: [Case((size,), str(size)) for size in (64, (64, 32))]  # noqa: E731
    one = Exercise("demo.sizes", sizes, cases, [], {}, returns=("height", "width"))
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    out, _ = told("demo.sizes", lambda size: (size // 8, size // 8))
    assert "TypeError" in out and "wrong order" not in out
    assert "wrong order" in told("demo.sizes", lambda size: sizes(size)[::-1])[0]
    out, _ = told("demo.sizes", lambda size: (sizes(size)[0], 4))
    assert "height: right. width: not yet." in out


def test_a_tuple_of_sizes_is_no_batch(told, monkeypatch):
    def shape(height, downscale):
        return 3, height // downscale, height // downscale

    cases = lambda: [Case((n, 4), f"height {n}") for n in (64, 96)]  # noqa: E731
    one = Exercise("demo.shape", shape, cases, [], {})
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    out, _ = told("demo.shape", lambda height, downscale: (3, height, height))
    assert "not right yet" in out and "picture" not in out


def test_one_constant_answer_tells_nothing(told, monkeypatch):
    def weights(x, level, offset):
        return (offset - level * x).softmax(dim=1)

    cases = lambda: [Case((torch.randn(2, 4), level, 0.0), f"{level}") for level in (0.5, 2.0)]  # noqa: E731
    one = Exercise("demo.weights", weights, cases, [], {})
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    # With level and offset exchanged, or with x at 0, all weights are the same: no evidence.
    out, _ = told("demo.weights", lambda x, level, offset: (-offset * level * x).softmax(dim=1))
    assert "exchanged" not in out
    out, _ = told("demo.weights", lambda x, level, offset: (offset - x / level).softmax(dim=1))
    assert "set to 0" not in out and "First difference" in out


def test_sum_for_a_mean_and_lost_gradient(told):
    def total(model, x, y):
        return (model(x) - y).square().sum()

    def per_picture(model, x, y):
        return (model(x) - y).square().sum(dim=1).mean()

    def cut(model, x, y):
        return loss(model, x, y).detach()

    def each_picture(model, x, y):
        return (model(x) - y).square().mean(dim=1)

    assert "a sum over all numbers for a mean" in told("demo.loss", total)[0]
    out, _ = told("demo.loss", per_picture)
    assert "a sum over the numbers of a picture for a mean" in out
    assert "cut off from its gradient" in told("demo.loss", cut)[0]
    assert "One number is expected" in told("demo.loss", each_picture)[0]


def test_generators_are_fresh_for_every_call(told):
    assert "✓" in told("demo.draw", lambda x, generator: draw(x, generator))[0]
    out, _ = told("demo.draw", lambda x, generator: x + torch.randn(x.shape))
    assert "draws random numbers" in out


def test_class_answers(told):
    class Scale(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    assert told("demo.Scale", Scale)[1] is Scale

    class Divide(Scale):
        def forward(self, x):
            return x / self.factor

    assert "It divides." in told("demo.Scale", Divide)[0]

    class Broken(Scale):
        def forward(self, x):
            return x.no_such_thing

    out, _ = told("demo.Scale", Broken)
    assert "AttributeError" in out and "return x.no_such_thing" in out

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()

        def forward(self, x):
            return x

    assert "The parameters are (); (factor) are expected" in told("demo.Scale", Other)[0]


# ---- exceptions, signatures, damage ------------------------------------------------------------


def test_exception_is_shown_with_the_students_line(told):
    def q_sample(x0, t, schedule, noise):
        a = schedule.alphas_cumprod[t]
        return a.sqrt() * x0  # this line

    out, _ = told("demo.q_sample", q_sample)
    line = q_sample.__code__.co_firstlineno + 2
    assert "RuntimeError: The size of tensor" in out
    assert f"line {line} of your cell:  return a.sqrt() * x0  # this line" in out
    assert ".view(-1, 1, 1, 1)" in out


def test_an_exercise_has_advice_of_its_own(told, monkeypatch):
    def cases():
        yield Case((2.0,), "two")
        yield Case((-4.0,), "below 0")

    def root(x):
        return float(np.sqrt(abs(x)))

    advice = {"domain error|nonnegative": "x may be below 0: abs(x) first.", "without": "x"}
    one = Exercise("demo.root", root, cases, [], {"Squared.": lambda x: x * x}, advice=advice)
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    assert "\n  x may be below 0: abs(x) first." in told("demo.root", lambda x: math.sqrt(x))[0]
    out, _ = told("demo.root", lambda x: float(torch.sqrt(x)))  # the engine's own
    assert "is for math.sqrt and the like" in out and "abs(x)" not in out
    # A mistake in the cases before the one in which it stops explains more than the stop.
    out, _ = told("demo.root", lambda x: x * x if x > 0 else math.log(x))
    assert "Squared." in out and "stopped" not in out


def test_a_float_is_no_whole_number(told, monkeypatch):
    def half(n):
        return n // 2

    def cases():
        yield Case((6,), "six")
        yield Case((8,), "eight")

    known = {
        "It is a float.": lambda n: n / 2,
        "A float for six.": lambda n: n / 2 if n == 6 else 4,
    }
    one = Exercise("demo.half", half, cases, [], known)
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    assert "It is a float." in told("demo.half", lambda n: 0.5 * n)[0]
    out, _ = told("demo.half", lambda n: 3)  # for six it is no float, but right
    assert "float" not in out and "✗" in out


def test_the_order_of_parameters_counts_with_a_run_too(told):
    out, _ = told("demo.average", lambda new, weights, decay: average(weights, new, decay))
    assert "Keep the first line as it was given" in out


SIZES = "needs the shape"


def test_no_shape_advice_where_nothing_is_one_number_for_each(told, monkeypatch):
    def guide(output, guidance):
        one, other = output.chunk(2)
        return one + guidance * (other - one)

    cases = lambda: [Case((torch.randn(4, 2, 2, 2), 3.0), "guidance 3")]  # noqa: E731
    monkeypatch.setitem(
        vars(sys.modules[__name__]), "EXERCISES", [Exercise("demo.guide", guide, cases, [], {})]
    )
    out, _ = told("demo.guide", lambda output, guidance: guidance * output)
    assert "shape [4, 2, 2, 2]; [2, 2, 2, 2] is expected." in out
    assert SIZES not in out and "wrong axis" not in out


def test_shape_advice_only_where_a_batch_meets_pictures(told, monkeypatch):
    def distances(x, known):
        return torch.cdist(x.flatten(1), known.flatten(1))

    def cases():
        yield Case((torch.randn(3, 2, 2, 2), torch.randn(5, 2, 2, 2)), "one")

    one = Exercise("demo.distances", distances, cases, [], {})
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    for answer in (
        lambda x, known: torch.cdist(x, known),
        lambda x, known: x - known,
        lambda x, known: x.flatten(1) @ known.flatten(1),
        lambda x, known: torch.cdist(x.flatten(1), known.flatten(1)) + torch.ones(5, 3),
    ):
        out, _ = told("demo.distances", answer)
        assert "RuntimeError" in out and SIZES not in out
        assert "x [3, 2, 2, 2], known [5, 2, 2, 2]." in out


def test_shape_advice_fits_the_batch(told, monkeypatch):
    def cases():
        schedule = NoiseSchedule.linear(100)
        yield Case((torch.randn(3, 2), torch.tensor([1, 2, 3]), schedule, torch.randn(3, 2)), "one")

    one = Exercise("demo.q_sample", diffusion.q_sample, cases, [], {})
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])

    def q_sample(x0, t, schedule, noise):
        return schedule.alphas_cumprod[t].sqrt() * x0

    assert ".view(-1, 1)." in told("demo.q_sample", q_sample)[0]

    def for_pictures(x0, t, schedule, noise):
        return schedule.alphas_cumprod[t].view(-1, 1, 1, 1) * x0

    out, _ = told("demo.q_sample", for_pictures)
    assert "has grown" in out and ".view(-1, 1)." in out and "-1, 1, 1, 1" not in out


def call_target_raising(model, x0, t, noise, schedule, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, schedule, noise)
    return (model(x_t, t) - diffusion.target(t, x0, noise, schedule, prediction)).square()


def call_model_raising(model, x0, t, noise, schedule, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, schedule, noise)
    return (model(t, x_t) - x0).square()


def call_target_silent(model, x0, t, noise, schedule, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, schedule, noise)
    error = model(x_t, t) - diffusion.target(noise, x0, t, schedule, prediction)
    return error.square().flatten(1).mean(dim=1)


def call_by_names(model, x0, t, noise, schedule, prediction="epsilon"):
    x_t = diffusion.q_sample(x0, t, noise=schedule, schedule=noise)
    return (model(x_t, t) - noise).square().flatten(1).mean(dim=1)


def call_method(model, x0, t, noise, schedule, prediction="epsilon"):
    return schedule.no_such(t, x0) + torch.where(t > 0, noise, x0)


@pytest.mark.parametrize(
    "answer, call",
    [
        (call_target_raising, "target takes (x0, noise, t, schedule, prediction)"),
        (call_model_raising, "model takes (x, t)"),
        (call_target_silent, "target takes (x0, noise, t, schedule, prediction)"),
        (call_by_names, "q_sample takes (x0, t, schedule, noise)"),
        (call_method, None),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_arguments_in_another_order(answer, call):
    status, message, _ = engine.check(bank.find("reverse.loss"), answer)
    assert status == "wrong" and SIZES not in message
    assert ("may be in the wrong order" in message) == (call is not None)
    assert call is None or call in message


def test_exception_inside_the_course_names_what_was_called(told):
    def q_sample(x0, t, schedule, noise):
        return extract(schedule.alphas_cumprod, t.float(), x0)

    out, _ = told("demo.q_sample", q_sample)
    assert "raised inside extract(table, t, x)" in out and "wrong order" not in out


@pytest.mark.parametrize(
    "answer",
    [
        lambda x0, t, schedule, noise: x0 if t == 0 else noise,
        lambda x0, t, schedule, noise: schedule.alphas_cumprod[int(t)] * x0,
        lambda x0, t, schedule, noise: t.item() * x0,
    ],
)
def test_one_number_where_there_are_many(told, answer):
    assert "torch.where chooses for each" in told("demo.q_sample", answer)[0]


def test_a_wrong_shape_before_an_exception_is_said_first(told):
    def q_sample(x0, t, schedule, noise):
        return rightly(x0, t, schedule, noise).flatten(1) / {2: 1}[len(x0)]

    out, _ = told("demo.q_sample", q_sample)
    assert "shape [2, 60]" in out and "KeyError" not in out


def test_exception_in_one_case_names_it(told):
    def q_sample(x0, t, schedule, noise):
        return rightly(x0, t, schedule, noise) / {2: 1}[len(x0)]

    out, _ = told("demo.q_sample", q_sample)
    assert "KeyError: 3" in out and 'in the case "three pictures"' in out


def test_exit_and_deep_recursion_are_exceptions_too(told):
    def leaves(x0, t, schedule, noise):
        sys.exit("bye")

    def recursive(x0, t, schedule, noise):
        return recursive(x0, t, schedule, noise)

    assert "SystemExit: bye" in told("demo.q_sample", leaves)[0]
    assert "RecursionError" in told("demo.q_sample", recursive)[0]


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda img, t, schedule, noise: img, ["(img, t, schedule, noise)"]),
        (lambda x0, t, schedule: x0, ["(x0, t, schedule);"]),
        (lambda x0, t, schedule, noise, eta: x0, ["(x0, t, schedule, noise, eta)"]),
        (lambda t, x0, schedule, noise: x0, ["(t, x0, schedule, noise)"]),
    ],
)
def test_wrong_parameters_are_said_before_calling(told, answer, words):
    out, _ = told("demo.q_sample", answer)
    for word in (*words, "(x0, t, schedule, noise) are expected"):
        assert word in out


def test_further_parameters_with_a_default_are_fine(told):
    def q_sample(x0, t, schedule, noise, *, verbose=False):
        return rightly(x0, t, schedule, noise)

    assert told("demo.q_sample", q_sample)[1] is q_sample


def damage_picture(x0, t, schedule, noise):
    x = rightly(x0, t, schedule, noise)
    x0 *= 0.5
    return x


def damage_schedule(x0, t, schedule, noise):
    x = rightly(x0, t, schedule, noise)
    schedule.alphas_cumprod.sqrt_()
    return x


def damage_and_be_wrong(x0, t, schedule, noise):
    return -rightly(x0, t, schedule, noise.mul_(2))


@pytest.mark.parametrize(
    "answer, what",
    [
        (damage_picture, "its input x0,"),
        (damage_schedule, "its input schedule.alphas_cumprod,"),
        (damage_and_be_wrong, "its input noise,"),
    ],
)
def test_damaged_inputs_are_caught(told, answer, what):
    out, back = told("demo.q_sample", answer)
    assert what in out and "compute a new tensor" in out
    assert back is diffusion.q_sample


def test_damage_is_allowed_where_the_exercise_says_so(told):
    assert "✓" in told("demo.average", lambda weights, new, decay: average(weights, new, decay))[0]

    def wrong_one(weights, new, decay):
        average(weights, new, decay)
        new.zero_()

    assert "its input new," in told("demo.average", wrong_one)[0]


def test_damage_inside_lists_and_dicts(monkeypatch, told):
    def total(parts, extra):
        return torch.stack(parts).sum() + extra["bias"]

    cases = lambda: [Case(([torch.ones(2), torch.ones(2)], {"bias": torch.ones(1)}), "one")]  # noqa: E731
    monkeypatch.setitem(
        vars(sys.modules[__name__]), "EXERCISES", [Exercise("demo.total", total, cases, [], {})]
    )

    def answer(parts, extra):
        value = total(parts, extra)
        parts[1].add_(1)
        extra["bias"] += 1
        parts.append(0)
        return value

    out, _ = told("demo.total", answer)
    assert "its input parts[1], extra.bias, parts[2]," in out and "a new tensor" in out

    def longer(parts, extra):
        value = total(parts, extra)
        parts.append(torch.ones(2))
        return value

    assert "its input parts[2], which" in told("demo.total", longer)[0]
    assert "make a new list" in told("demo.total", longer)[0]


# ---- time, threads, random numbers, prints ----------------------------------------------------


def answers_running():
    return [thread for thread in threading.enumerate() if thread.daemon and thread.is_alive()]


def test_endless_loop_is_stopped(told):
    def q_sample(x0, t, schedule, noise):
        while True:
            pass

    before = len(answers_running())
    out, back = told("demo.q_sample", q_sample)
    assert "still running after 1 seconds" in out and "loop that never ends" in out
    assert "restart the kernel" not in out
    assert back is diffusion.q_sample
    assert len(answers_running()) == before


def test_sleeping_answer_is_left_behind(told):
    def q_sample(x0, t, schedule, noise):
        time.sleep(4)

    out, _ = told("demo.q_sample", q_sample)
    assert "still running" in out and "restart the kernel" in out


def test_endless_prints_do_not_fill_the_memory(told):
    def q_sample(x0, t, schedule, noise):
        while True:
            print("again")

    out, _ = told("demo.q_sample", q_sample)
    assert "still running" in out
    assert out.count("again") == 5 and "(and more)" in out


def test_total_time_is_limited(told, monkeypatch):
    slow = Exercise("demo.q_sample", diffusion.q_sample, q_cases, [], {}, seconds=5, total=0.3)
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [slow])

    def q_sample(x0, t, schedule, noise):
        time.sleep(0.2)
        return rightly(x0, t, schedule, noise)

    assert "still running" in told("demo.q_sample", q_sample)[0]


def test_interrupt_of_the_user_gets_through():
    started, turns = threading.Event(), []

    def q_sample(x0, t, schedule, noise):
        started.set()
        while True:
            turns.append(None)
            time.sleep(0.001)

    def interrupt():
        started.wait(30)
        time.sleep(0.2)  # so that it finds the checker waiting
        _thread.interrupt_main()

    before = len(answers_running())
    threading.Thread(target=interrupt).start()
    slow = Exercise("demo.q_sample", diffusion.q_sample, q_cases, [], {}, seconds=60, total=60)
    # A shell starts its background jobs with SIGINT ignored, and these tests may be one.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.check(slow, q_sample)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(answers_running()) == before
    number = len(turns)
    time.sleep(0.1)
    assert len(turns) == number  # whatever Python says of the thread: it has stopped


def test_random_state_of_the_notebook_is_kept(told):
    def q_sample(x0, t, schedule, noise):
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        return rightly(x0, t, schedule, noise)

    def numbers():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    def begin():
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)

    begin()
    expected = numbers()
    for answer in (q_sample, negative, only_dots, gives_numpy, lambda x0: x0):
        begin()
        told("demo.q_sample", answer)
        assert numbers() == expected


def test_answers_see_the_same_seed_as_the_reference(told, monkeypatch):
    def timesteps(x):
        return torch.randint(10, (len(x),)) + int(np.random.rand() * 10) + random.randrange(10)

    one = Exercise("demo.t", timesteps, lambda: [Case((torch.ones(9),), "one")], [], {})
    monkeypatch.setitem(vars(sys.modules[__name__]), "EXERCISES", [one])
    assert "✓" in told("demo.t", lambda x: timesteps(x))[0]


def test_settings_of_the_notebook_hold_inside_an_answer():
    def answer():
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        torch.set_grad_enabled(not grad)  # stays inside
        return grad, inference, torch.get_default_dtype(), torch.get_default_device().type

    def seen():
        return limited(answer, 30, answer)

    assert seen() == (True, False, torch.float32, "cpu")
    with torch.no_grad():
        assert seen()[0] is False
    with torch.inference_mode():
        assert seen()[:2] == (False, True)
    torch.set_default_dtype(torch.float64)
    try:
        assert seen()[2] == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert seen()[3] == "meta"
    assert torch.is_grad_enabled()


def test_prints_are_shown_once_after_the_verdict(told):
    def q_sample(x0, t, schedule, noise):
        print("t is", t.tolist())
        return rightly(x0, t, schedule, noise)

    out, _ = told("demo.q_sample", q_sample)
    assert out.startswith("✓ demo.q_sample: right.")
    assert out.endswith("Your code printed:\n  t is [7, 7]\n  t is [0, 60]\n  t is [99, 3, 40]\n")


class Odd:
    """A student's own object that behaves as badly as it can."""

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3),
    st.sampled_from([Odd(), object(), int, print, ..., np.ones(2), np.float32(1), 1j, {1}, b""]),
    st.lists(st.integers(0, 3), max_size=5).map(lambda shape: torch.full(shape, 0.5)),
    st.sampled_from([torch.int64, torch.bool, torch.complex64, torch.float16]).map(
        lambda dtype: torch.ones(2, 3, 4, 5, dtype=dtype)
    ),
    st.sampled_from([0.0, 1.0, float("nan"), 3e38]).map(lambda v: torch.full((2, 3, 4, 5), v)),
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=2),
    ),
    max_leaves=4,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=ANYTHING)
@pytest.mark.parametrize("one", EXERCISES, ids=lambda one: one.name)
def test_no_value_whatever_breaks_the_checker(one, value):
    def answer(*args):
        return value

    status, message, _ = engine.check(one, answer)
    assert engine.UNEXPLAINED not in message
    assert status in ("wrong", "untouched") or one.name in ("demo.Scale", "demo.average")
    assert bool(message) == (status == "wrong")


def test_an_answer_that_normalises_an_input_is_not_said_to_ignore_it(told):
    def normalised(x0, t, schedule, noise):
        x0 = (x0 - x0.mean()) / x0.std()
        return rightly(x0.sign() * x0.abs().sqrt(), t, schedule, noise)

    said = told("demo.q_sample", normalised)[0]
    assert "First difference" in said and "does not change" not in said


# ---- hints, solution, progress ----------------------------------------------------------------


def test_hints_grow_stronger_and_point_to_the_solution(capsys):
    for _ in range(5):
        hint("demo.q_sample")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Hint 1 of 3: Two numbers.",
        "Hint 2 of 3: Their squares add up to 1.",
        "Hint 3 of 3: √ᾱ and √(1-ᾱ).",
    ]
    assert "solution('demo.q_sample')" in lines[3]
    assert lines[4] == lines[0]
    assert results()["demo.q_sample"]["hints"] == 3


def test_solution_is_the_package_s_own_source(capsys):
    show_solution("demo.q_sample")
    out = capsys.readouterr().out
    assert out.startswith("sdlearn.diffusion.q_sample:")
    assert "return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise" in out


def test_names_are_listed(capsys):
    hint()
    show_solution()
    out = capsys.readouterr().out
    assert out.count("chapter 90: demo.q_sample, demo.posterior") == 2
    for command in (hint, show_solution):
        with pytest.raises(ValueError, match="demo.q_sample"):
            command("demo.q_sampel")


def test_progress_lists_what_is_done(told, capsys):
    told("demo.q_sample", rightly)
    told("demo.draw", lambda x, generator: x)
    hint("demo.draw")
    capsys.readouterr()
    progress(90)
    out = capsys.readouterr().out
    assert "Chapter 90: 1 of 8 right" in out
    assert "✓ right     demo.q_sample  (tries: 1, hints: 0)" in out
    assert "✗ try again demo.draw  (tries: 1, hints: 1)" in out
    assert "- not yet   demo.loss\n" in out
    with pytest.raises(ValueError, match="chapter 77"):
        progress(77)


def test_progress_page_does_not_depend_on_colour(told):
    told("demo.q_sample", rightly)
    page = board.table({90: ["demo.q_sample", "a<b"]})["text/html"]
    assert "✓ right" in page and "- not yet" in page and "a&lt;b" in page
    assert "<caption>Chapter 90: 1 of 2 right</caption>" in page
    assert "color" not in page


def test_record_is_kept_in_a_file(told, monkeypatch, tmp_path):
    path = tmp_path / "deep" / "progress.json"
    monkeypatch.setenv("SDLEARN_PROGRESS", str(path))
    told("demo.q_sample", negative)
    hint("demo.q_sample")
    stored = json.loads(path.read_text(encoding="utf-8"))
    record = stored["demo.q_sample"]
    assert (record["status"], record["attempts"], record["hints"]) == ("wrong", 1, 1)
    assert "minus what it should be" in record["message"]
    board._memory.clear()  # as after a restart of the kernel
    assert results()["demo.q_sample"] == record
    assert list(path.parent.iterdir()) == [path]  # nothing half-written is left

    # Another notebook's results stay, those of other versions of the course too.
    stored["other.exercise"] = {"status": "right", "message": "", "attempts": 2, "hints": 0}
    path.write_text(json.dumps(stored), encoding="utf-8")
    told("demo.q_sample", rightly)
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["other.exercise"]["attempts"] == 2
    assert stored["demo.q_sample"]["status"] == "right"


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[1, 2]", '{"demo.draw": 3}', '{"demo.draw": {"status": "great"}}', "\udcff"],
)
def test_damaged_file_is_ignored_and_replaced(told, monkeypatch, tmp_path, damage):
    path = tmp_path / "progress.json"
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("SDLEARN_PROGRESS", str(path))
    out, back = told("demo.q_sample", rightly)
    assert back is rightly
    assert out.count("cannot be read") == 1 and "✓" in out
    assert json.loads(path.read_text(encoding="utf-8"))["demo.q_sample"]["status"] == "right"
    assert "cannot be read" not in told("demo.draw", lambda x, generator: x)[0]


def test_place_that_cannot_be_written_is_said_once(told, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SDLEARN_PROGRESS", str(tmp_path / "file" / "progress.json"))
    outs = [told("demo.q_sample", answer)[0] for answer in (rightly, negative)]
    assert "cannot be written" in outs[0] and "cannot be written" not in outs[1]
    assert results()["demo.q_sample"]["attempts"] == 2


def test_default_place_is_in_the_clone_and_off_writes_nothing(monkeypatch, tmp_path):
    assert board.place() is None
    monkeypatch.delenv("SDLEARN_PROGRESS")
    monkeypatch.setattr(board, "course_root", lambda: tmp_path)
    assert board.place() == tmp_path / ".sdlearn" / "progress.json"


# ---- the bank's own parts ------------------------------------------------------------------------


def test_banks_are_found_by_file_name():
    assert dict(bank.banks())[90] is EXERCISES
    assert bank.find("demo.loss") is EXERCISES[4]


def test_relations_are_told_apart():
    e = torch.tensor([0.2, 0.5, 0.7, 0.95], dtype=torch.float64)
    for said, function in compare.RELATIONS[:-1]:  # on positive numbers abs changes nothing
        assert compare.relation(e, function(e)) == said
    assert compare.relation(e, e * 3) == "3 times what it should be"
    assert compare.relation(e, e - 3) == "what it should be plus -3"
    assert compare.relation(e, torch.tensor([0.3, 0.1, 0.9, 0.2]).double()) is None
    same = torch.ones(4, dtype=torch.float64)  # one value fits too many relations to tell
    assert compare.relation(same, -same) is None
    masked = torch.tensor([0.3, 2.0, -torch.inf], dtype=torch.float64)  # nan in differences
    assert compare.relation(masked, masked + 3) is None


def test_characters_that_a_console_lacks(monkeypatch):
    written = []

    class Console:
        def write(self, text):
            text.encode("ascii")
            written.append(text)

    monkeypatch.setattr(sys, "stdout", Console())
    board.say("✓ demo: right.")
    assert "".join(written) == "? demo: right.\n"


# ---- in a kernel -----------------------------------------------------------------------------

KERNEL_BANK = """
import torch
from sdlearn import diffusion
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.compare import Refused
from sdlearn.exercises.trial import Trial, limited
from sdlearn.schedule import NoiseSchedule

def cases():
    x0 = torch.randn(2, 3, 4, 4)
    yield Case((x0, torch.tensor([3, 9]), NoiseSchedule.linear(10), torch.randn_like(x0)), "two")

EXERCISES = [Exercise("kernel.q_sample", diffusion.q_sample, cases, ["One.", "Two."], {})]
"""

CELLS = [
    """
    import sdlearn.exercises
    sdlearn.exercises.__path__.append(BANK)
    from sdlearn.exercises import exercise, hint, progress, solution
    progress(91)
    """,
    """
    @exercise("kernel.q_sample")
    def q_sample(x0, t, schedule, noise):
        ...
    """,
    """
    @exercise("kernel.q_sample")
    def q_sample(x0, t, schedule, noise):
        print("here")
        return x0 * schedule.alphas_cumprod[t]
    """,
    """
    @exercise("kernel.q_sample")
    def q_sample(x0, t, schedule, noise):
        a = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise
    """,
    'solution("kernel.q_sample")',
    "progress()",
]


@pytest.mark.slow
def test_in_a_kernel(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    (tmp_path / "ch91.py").write_text(KERNEL_BANK, encoding="utf-8")
    stored = tmp_path / "progress.json"
    monkeypatch.setenv("SDLEARN_PROGRESS", str(stored))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    sources = [textwrap.dedent(cell).strip().replace("BANK", repr(str(tmp_path))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120)
    client.execute(cwd=str(Path(__file__).parent))
    first, untouched, wrong, right, source, last = (cell.outputs for cell in notebook.cells)

    assert untouched[0].name == "stdout" and untouched[0].text == NOT_DONE.replace("demo", "kernel")
    assert "line 4 of your cell:  return x0 * schedule.alphas_cumprod[t]" in wrong[0].text
    assert wrong[0].text.endswith("Your code printed:\n  here\n")
    assert right[0].text.startswith("✓ kernel.q_sample: right.")
    assert "```python\ndef q_sample(x0, t, schedule, noise):" in source[0].data["text/markdown"]
    assert "def q_sample" in source[0].data["text/plain"]
    # The first table was shown before anything was done; it has followed since.
    for table in (first[0].data, last[0].data):
        assert "✓ right     kernel.q_sample  (tries: 2, hints: 0)" in table["text/plain"]
        assert "✓ right" in table["text/html"]
    assert json.loads(stored.read_text(encoding="utf-8"))["kernel.q_sample"]["attempts"] == 2
