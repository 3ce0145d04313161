"""Noise schedules: equal to diffusers', consistent in themselves, and clear about wrong input."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlearn.schedule import NoiseSchedule, extract, zero_terminal

THEIR_NAME = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "cosine": "squaredcos_cap_v2",
}
BETAS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "cosine": (1e-4, 0.02)}
betas_lists = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=60)


def theirs(name, T, **options):
    start, end = BETAS[name]
    return DDPMScheduler(
        T, beta_schedule=THEIR_NAME[name], beta_start=start, beta_end=end, **options
    )


@pytest.mark.parametrize("T", [2, 10, 100, 250, 1000])
@pytest.mark.parametrize("name", BETAS)
def test_tables_are_bit_equal_to_diffusers(name, T):
    ours, reference = getattr(NoiseSchedule, name)(T), theirs(name, T)
    assert len(ours) == T
    for attribute in ("betas", "alphas", "alphas_cumprod"):
        assert torch.equal(getattr(ours, attribute), getattr(reference, attribute)), attribute
        assert getattr(ours, attribute).dtype == torch.float32


def test_other_ends_of_beta_are_used():
    ours = NoiseSchedule.linear(50, beta_start=0.01, beta_end=0.3)
    assert torch.equal(ours.betas, DDPMScheduler(50, beta_start=0.01, beta_end=0.3).betas)
    ours = NoiseSchedule.scaled_linear(50, 0.01, 0.3)
    reference = DDPMScheduler(50, 0.01, 0.3, beta_schedule="scaled_linear")
    assert torch.equal(ours.betas, reference.betas)


@pytest.mark.parametrize("T", [10, 100, 1000])
@pytest.mark.parametrize("name", BETAS)
def test_zero_terminal_snr_is_bit_equal_to_diffusers(name, T):
    plain = getattr(NoiseSchedule, name)(T)
    ours = plain.with_zero_terminal_snr()
    assert torch.equal(ours.betas, rescale_zero_terminal_snr(plain.betas))
    assert torch.equal(
        ours.alphas_cumprod, theirs(name, T, rescale_betas_zero_snr=True).alphas_cumprod
    )
    assert ours.alphas_cumprod[-1] == 0 and ours.snr()[-1] == 0
    assert torch.allclose(ours.alphas_cumprod[0], plain.alphas_cumprod[0])
    assert (ours.alphas_cumprod[:-1] > 0).all()
    assert (ours.alphas_cumprod.diff() < 0).all()
    assert plain.alphas_cumprod[-1] > 0  # the original is left alone


def test_zero_terminal_is_linear_in_the_root():
    root = torch.tensor([0.9, 0.7, 0.4, 0.2], dtype=torch.float64)
    stretched = zero_terminal(root**2).sqrt()
    # what lies between the ends keeps its place between them: (0.7 - 0.2)/(0.9 - 0.2) of the way
    expected = 0.9 * torch.tensor([1, 5 / 7, 2 / 7, 0], dtype=torch.float64)
    assert torch.allclose(stretched, expected, atol=1e-12)


def test_cosine_is_the_papers_formula():
    T = 500
    alphas_cumprod = NoiseSchedule.cosine(T).alphas_cumprod.double()

    def f(t):
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([f(t + 1) / f(0) for t in range(T - 1)], dtype=torch.float64)
    # 500 float32 factors multiplied: at most 500 roundings of 6e-8
    assert torch.allclose(alphas_cumprod[:-1], expected, rtol=3e-5, atol=0)
    assert abs(NoiseSchedule.cosine(T).betas[-1] - 0.999) < 1e-6


def test_stable_diffusion_never_reaches_pure_noise():
    root = NoiseSchedule.scaled_linear().alphas_cumprod[-1].sqrt()
    assert round(float(root), 3) == 0.068


@given(betas_lists)
@settings(deadline=None, max_examples=60)
def test_tables_follow_from_the_betas(betas):
    schedule = NoiseSchedule(torch.tensor(betas, dtype=torch.float64))
    assert np.allclose(schedule.alphas, 1 - np.array(betas), rtol=0, atol=1e-15)
    product = [math.prod(1 - b for b in betas[: i + 1]) for i in range(len(betas))]
    assert np.allclose(schedule.alphas_cumprod, product, rtol=1e-12, atol=0)
    variance = 1 - np.array(product)
    assert np.allclose(schedule.snr(), np.array(product) / variance, rtol=1e-9)
    assert (schedule.snr().diff() < 0).all()


def test_snr_of_some_timesteps():
    schedule = NoiseSchedule.linear()
    t = torch.tensor([3, 999, 3])
    assert torch.equal(schedule.snr(t), schedule.snr()[t])
    alpha_bar = schedule.alphas_cumprod[500]
    assert torch.allclose(schedule.snr()[500], alpha_bar / (1 - alpha_bar))


@pytest.mark.parametrize(
    ("betas", "says"),
    [
        ([0.1, 1.5], "in (0, 1]"),
        ([0.0, 0.1], "in (0, 1]"),
        ([-0.1], "in (0, 1]"),
        ([float("nan")], "in (0, 1]"),
        ([], "list of T numbers"),
        ([[0.1, 0.2]], "list of T numbers"),
        ([1, 1], "list of T numbers"),
    ],
)
def test_betas_that_make_no_sense_are_refused(betas, says):
    with pytest.raises(ValueError) as error:
        NoiseSchedule(betas)
    assert says in str(error.value)


def test_to_another_dtype():
    schedule = NoiseSchedule.linear(10).to(torch.float64)
    assert schedule.betas.dtype == schedule.alphas_cumprod.dtype == torch.float64
    assert "T=10" in repr(schedule)


def test_extract_shapes_and_dtypes():
    table = torch.arange(10.0)
    for shape in ((3,), (3, 2), (3, 1, 4, 4)):
        for dtype in (torch.float64, torch.float32, torch.float16):
            out = extract(table, torch.tensor([1, 9, 0]), torch.zeros(shape, dtype=dtype))
            assert out.shape == (3, *[1] * (len(shape) - 1)) and out.dtype == dtype
            assert out.flatten().tolist() == [1, 9, 0]
    assert extract(table, 7, torch.zeros(3, 2)).flatten().tolist() == [7]
    assert extract(table, torch.tensor([2]), torch.zeros(3, 2)).shape == (1, 1)


@pytest.mark.parametrize(
    ("t", "error"),
    [
        (torch.tensor([0.5, 1, 2]), TypeError),
        (torch.tensor([True, False, True]), TypeError),
        (torch.tensor([0, 1]), ValueError),
        (torch.tensor([[0, 1, 2]]), ValueError),
        (torch.tensor([0, 1, 10]), IndexError),
        (torch.tensor([-1, 0, 1]), IndexError),
    ],
)
def test_extract_refuses_wrong_timesteps(t, error):
    with pytest.raises(error):
        extract(torch.arange(10.0), t, torch.zeros(3, 2))
