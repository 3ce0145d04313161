"""Every exercise of every chapter: its reference passes, each mistake gets its own sentence."""

import pytest
import torch

from sdlearn import layers, unet
from sdlearn.exercises import bank
from sdlearn.exercises.engine import check, known_mistake
from sdlearn.exercises.trial import Trial, kept_random, leaves

EXERCISES = [one for _, exercises in bank.banks() for one in exercises]
if not EXERCISES:
    pytest.skip("no chapter has exercises yet", allow_module_level=True)
each = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


def answers(exercise, answer):
    """What an answer gives in each case."""
    with kept_random():
        trial = Trial(exercise, None)
        return [trial.call(answer, i) for i in range(len(trial.labels))]


def test_names_are_unique():
    names = [exercise.name for exercise in EXERCISES]
    assert sorted(set(names)) == sorted(names)


@each
def test_reference_passes(exercise):
    status, message, printed = check(exercise, exercise.reference)
    assert (status, message, printed) == ("right", "", "")
    assert exercise.reference.__module__.startswith("sdlearn."), "not the package's own function"


@each
def test_there_is_enough_of_everything(exercise):
    assert len(exercise.mistakes) >= 5
    assert len(exercise.hints) >= 2
    labels = [case.label for case in exercise.cases()]
    assert all(labels) and len(set(labels)) == len(labels), "each case needs a label of its own"


@each
def test_each_mistake_is_told_by_its_own_sentence(exercise):
    trial = Trial(exercise, None)
    refs = answers(exercise, exercise.reference)
    for sentence, mistaken in exercise.mistakes.items():
        gots = answers(exercise, mistaken)  # runs without raising
        assert not all(map(exercise.equal, refs, gots)), f"no mistake: {sentence}"
        assert known_mistake(trial, refs, gots) == sentence


@each
def test_cases_are_fresh_and_the_same_each_time(exercise):
    with kept_random():
        trial = Trial(exercise, None)
        for i in range(len(trial.labels)):
            first, second = trial.inputs(i), trial.inputs(i)
            pairs = list(zip(leaves(first).values(), leaves(second).values()))
            tensors = [pair for pair in pairs if isinstance(pair[0], torch.Tensor)]
            assert all(torch.equal(a, b) or a.isnan().any() for a, b in tensors)
            where = [a.data_ptr() == b.data_ptr() for a, b in tensors if a.numel()]
            assert not any(where), "cases() must make its tensors anew: an answer may damage them"


def test_captions_may_be_dropped_by_the_largest_numbers():
    def answer(context, empty, share, generator=None):
        keep = torch.rand(len(context), 1, 1, generator=generator) < 1 - share
        return torch.where(keep, context, empty)

    assert check(bank.find("guidance.drop_captions"), answer)[0] == "right"


def test_a_ramp_may_be_moved_to_the_device_at_its_end():
    def answer(length, overlap, like):
        ends = [min(i + 0.5, length - i - 0.5) / max(overlap, 1) for i in range(length)]
        return torch.tensor(ends).clamp(max=1).to(like)

    assert check(bank.find("vae.ramp"), answer)[0] == "right"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("unet.resnet", lambda self, x, temb: self(x, temb)),
        ("unet.attention", lambda self, x, context: layers.Attention.forward(self, x, context)),
        ("unet.up_path", lambda parts, skips: unet.up_path(parts, skips)),
    ],
)
def test_an_answer_that_calls_what_it_becomes_is_told_so(name, answer):
    status, message, _ = check(bank.find(name), answer)
    assert status == "wrong" and "would never end" in message
    assert unet.up_path is bank.find("unet.up_path").reference
    assert layers.Attention.forward is bank.find("unet.attention").reference
    assert layers.ResnetBlock2D.forward is bank.find("unet.resnet").reference
