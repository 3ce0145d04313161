"""Samplers on problems with a known answer, their bookkeeping, and what they say about mistakes."""

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sdlearn.samplers as samplers
from sdlearn.diffusion import p_step, predict_x0
from sdlearn.samplers import (
    SAMPLERS,
    SPACINGS,
    denoised,
    karras_sigmas,
    noise_levels,
    sample,
    sigma_table,
    timesteps,
)
from sdlearn.schedule import NoiseSchedule

LINEAR = NoiseSchedule.linear()
STOCHASTIC = ("ddpm", "euler_a")
DETERMINISTIC = tuple(name for name in SAMPLERS if name not in STOCHASTIC)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


class Gaussian:
    """The perfect model of data N(mean, std²): E[x_0 | x_t] is known, and so is every prediction.

    y = x_0 + σ·noise: E[x_0 | y] = mean + std²/(std² + σ²)·(y - mean).
    """

    def __init__(self, schedule, mean, std, prediction="epsilon"):
        self.sigmas = sigma_table(schedule)
        self.mean, self.std, self.prediction = mean, std, prediction
        self.calls = 0

    def __call__(self, x_t, t):
        self.calls += 1
        sigma = np.interp(t.double().numpy(), np.arange(len(self.sigmas)), self.sigmas)
        sigma = torch.from_numpy(sigma).to(x_t.dtype).view(-1, *[1] * (x_t.dim() - 1))
        y = x_t * (1 + sigma**2).sqrt()
        x0 = self.mean + self.std**2 / (self.std**2 + sigma**2) * (y - self.mean)
        noise = (y - x0) / sigma
        alpha, spread = 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt()
        v = alpha * noise - spread * x0
        return {"epsilon": noise, "sample": x0, "v_prediction": v}[self.prediction]


def result_of(sampler, steps, mean, std, prediction="epsilon", schedule=LINEAR, offset=1):
    """Mean and standard deviation of what a sampler makes of standard normal noise.

    The perfect model is affine, so a deterministic sampler is: x → slope·x + centre, read off
    exactly from x = 0 and x = 1. A stochastic one is drawn from 40,000 times.
    """
    model = Gaussian(schedule, mean, std, prediction)
    if sampler in STOCHASTIC:
        x, g = draw(40_000, 1, seed=1, dtype=torch.float64), generator(2)
        x = sample(model, x, schedule, sampler, steps, prediction, "trailing", generator=g)
        return float(x.mean()), float(x.std())
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    x = sample(model, x, schedule, sampler, steps, prediction, "trailing", offset)
    return float(x[0]), float(x[1] - x[0])


# --- problems with a known answer ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "prediction"),
    [(sampler, "epsilon") for sampler in STOCHASTIC]
    + [(s, p) for s in DETERMINISTIC for p in ("epsilon", "v_prediction", "sample")],
)
@given(mean=st.floats(-0.9, 0.9), std=st.floats(0.1, 1.5))
@settings(deadline=None, max_examples=6, derandomize=True)
def test_a_gaussian_comes_back(sampler, prediction, mean, std):
    """200 steps give mean and spread of the data back, whatever the sampler.

    Tolerances: 0.03 is what first-order methods err by at 200 steps (the next test measures that
    it falls with the steps); five standard errors of 40,000 draws where there are draws.
    """
    got_mean, got_std = result_of(sampler, 200, mean, std, prediction)
    drawn = 5 * std / math.sqrt(40_000) if sampler in STOCHASTIC else 0
    assert abs(got_mean - mean) < 0.03 + drawn
    assert abs(got_std - std) < 0.03 + drawn


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_the_error_falls_with_the_steps(sampler):
    errors = [abs(result_of(sampler, steps, 0.5, 0.3)[1] - 0.3) for steps in (5, 20, 100, 250)]
    assert errors[0] > errors[1] > errors[3] and errors[3] < 0.02, errors


@pytest.mark.parametrize(
    ("function", "order"),
    [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2)],
)
def test_order(function, order):
    """Twice the steps: half the error, or a quarter with the second-order methods.

    From σ = 10 to 0.1 with the perfect denoiser of N(0, 0.5²), whose exact solution is
    y ∝ √(0.5² + σ²).
    """
    exact = math.sqrt((0.25 + 0.01) / (0.25 + 100))
    errors = []
    for steps in (50, 100, 200):
        sigmas = np.geomspace(10, 0.1, steps + 1).tolist()

        def denoise(y, i, trial=False, sigmas=sigmas):
            return 0.25 / (0.25 + sigmas[i] ** 2) * y

        y = torch.ones(1, 1, dtype=torch.float64)
        y = getattr(samplers, function)(denoise, y, list(zip(sigmas, sigmas[1:])))
        errors.append(abs(y.item() - exact))
    for coarse, fine in zip(errors, errors[1:]):
        assert 2**order * 0.8 < coarse / fine < 2**order * 1.25


def test_a_model_that_knows_the_picture_gets_it():
    """One picture is all there is: every sampler ends on it, at any number of steps."""
    picture = draw(1, 3, 4, 4)
    for sampler in SAMPLERS:
        for steps in (1, 2, 9):
            x = sample(
                lambda x, t: picture.expand_as(x),
                draw(5, 3, 4, 4, seed=1),
                LINEAR,
                sampler,
                steps,
                "sample",
                "trailing",
                generator=generator(),
            )
            # DDIM keeps the noise of timestep 0 on it, σ_0 = 0.01 (noise reaches 4.5); Euler in one
            # step subtracts noise of 160 from a y of 160, each known to 1e-7 of that
            tolerance = 0.05 if sampler == "ddim" else 1e-4
            assert torch.allclose(x, picture.expand_as(x), atol=tolerance)


def test_ddpm_over_all_timesteps_is_the_loop_of_the_chapter():
    schedule = NoiseSchedule(NoiseSchedule.linear(50).betas.double())
    model, x = Gaussian(schedule, 0.2, 0.4), draw(3, 1, 2, 2, dtype=torch.float64)
    ours = sample(model, x, schedule, "ddpm", 50, generator=generator(7))
    g = generator(7)
    for i in reversed(range(50)):
        t = torch.full((3,), i)
        x0 = predict_x0(x, t, schedule, model(x, t))
        noise = torch.randn(x.shape, generator=g, dtype=x.dtype) if i else torch.zeros_like(x)
        x = p_step(x, t, schedule, x0, noise)
    assert torch.allclose(ours, x, atol=1e-10)


# --- what the samplers share --------------------------------------------------------------------

LEVELS = [(14.0, 6.0), (6.0, 2.0), (2.0, 0.3), (0.3, 0.0)]


def test_ddim_is_eulers_method():
    def denoise(y, i, trial=False):
        return torch.tanh(y / (i + 1))

    y = draw(4, 3) * 14
    assert torch.allclose(samplers.ddim(denoise, y, LEVELS), samplers.euler(denoise, y, LEVELS))


def test_ddpm_is_euler_ancestral():
    def denoise(y, i, trial=False):
        return torch.tanh(y / (i + 1))

    y = draw(4, 3) * 14
    one = samplers.ddpm(denoise, y, LEVELS, generator(1))
    two = samplers.euler_a(denoise, y, LEVELS, generator(1))
    assert torch.allclose(one, two, atol=1e-5)
    assert not torch.allclose(one, samplers.ddpm(denoise, y, LEVELS, generator(2)), atol=1e-2)


@given(st.floats(0.01, 50), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_one_ddpm_step_is_a_draw_from_the_posterior(sigma, share):
    """Mean and variance of one step, against Gaussian algebra: precisions add."""
    sigma_next = max(sigma * share, 1e-3 * sigma)
    y = torch.full((40_000, 1), 2.0, dtype=torch.float64)
    x0 = torch.full_like(y, 0.5)
    out = samplers.ddpm(lambda y, i: x0, y, [(sigma, sigma_next)], generator())
    # y_next ~ N(x0, σ_next²), y = y_next + N(0, σ² - σ_next²)
    step = sigma**2 - sigma_next**2
    if step < 1e-9 * sigma**2:
        assert torch.allclose(out, y)
        return
    variance = 1 / (1 / sigma_next**2 + 1 / step)
    mean = variance * (0.5 / sigma_next**2 + 2.0 / step)
    assert abs(float(out.mean()) - mean) < 5 * math.sqrt(variance / 40_000)
    assert abs(float(out.std()) / math.sqrt(variance) - 1) < 5 / math.sqrt(80_000)


def test_heun_is_exact_where_the_slope_changes_linearly():
    # x_0 = y - σ(3 + σ): slope 3 + σ, whose integral the trapezium rule knows exactly
    def denoise(y, i, trial=False):
        sigma = LEVELS[i][0]
        return y - sigma * (3 + sigma)

    y = torch.zeros(1, 1, dtype=torch.float64)
    out = samplers.heun(denoise, y, LEVELS[:3])
    assert out.item() == pytest.approx(3 * (0.3 - 14) + (0.3**2 - 14**2) / 2)
    assert samplers.euler(denoise, y, LEVELS[:3]).item() != pytest.approx(out.item(), rel=0.1)


def test_dpmpp_2m_carries_the_guess_on():
    """Two steps by hand, from Lu et al. 2022b, algorithm 2, in its own symbols α, σ, λ, h, r, D."""
    levels = [(8.0, 3.0), (3.0, 1.0)]
    guesses = torch.tensor([[0.4], [0.9]], dtype=torch.float64)
    y = torch.tensor([5.0], dtype=torch.float64)
    out = samplers.dpmpp_2m(lambda y, i: guesses[i], y, levels)
    alpha = [1 / math.sqrt(1 + s**2) for s in (8, 3, 1)]
    sigma = [a * s for a, s in zip(alpha, (8, 3, 1))]
    lam = [math.log(a / s) for a, s in zip(alpha, sigma)]
    h = [lam[1] - lam[0], lam[2] - lam[1]]
    x = 5.0 * alpha[0]
    x = sigma[1] / sigma[0] * x - alpha[1] * (math.exp(-h[0]) - 1) * 0.4
    r = h[0] / h[1]
    D = (1 + 1 / (2 * r)) * 0.9 - 1 / (2 * r) * 0.4
    x = sigma[2] / sigma[1] * x - alpha[2] * (math.exp(-h[1]) - 1) * D
    assert out.item() == pytest.approx(x / alpha[2], rel=1e-12)


@given(st.integers(0, 999), st.sampled_from(["epsilon", "v_prediction", "sample"]))
@settings(deadline=None, max_examples=40)
def test_denoised_is_predict_x0_in_other_words(i, prediction):
    schedule = NoiseSchedule(LINEAR.betas.double())
    x_t, output = draw(2, 3, dtype=torch.float64), draw(2, 3, seed=1, dtype=torch.float64)
    sigma = float(sigma_table(schedule)[i])
    x0 = predict_x0(x_t, torch.tensor([i, i]), schedule, output, prediction)
    ours = denoised(x_t * math.hypot(1, sigma), sigma, output, prediction)
    assert torch.allclose(ours, x0, rtol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_the_network_predicts_makes_no_difference(sampler):
    """Three networks that imply the same guess at x_0 give the same pictures."""
    results = [
        sample(
            Gaussian(LINEAR, 0.3, 0.5, prediction),
            draw(2, 3, dtype=torch.float64),
            LINEAR,
            sampler,
            12,
            prediction,
            generator=generator(),
        )
        for prediction in ("epsilon", "v_prediction", "sample")
    ]
    # Karras' levels lie beside the timestep that the model is told, so there the guesses differ
    tolerance = 5e-3 if sampler == "dpmpp_2m_karras" else 1e-9
    assert torch.allclose(results[0], results[1], atol=tolerance)
    assert torch.allclose(results[0], results[2], atol=tolerance)


# --- timesteps and levels -----------------------------------------------------------------------


def test_timesteps_by_hand():
    assert timesteps(1000, 4, "leading", 1).tolist() == [751, 501, 251, 1]
    assert timesteps(1000, 4, "leading", 0).tolist() == [750, 500, 250, 0]
    assert timesteps(1000, 4, "trailing").tolist() == [999, 749, 499, 249]
    assert timesteps(1000, 4, "linspace").tolist() == [999, 666, 333, 0]
    assert timesteps(LINEAR, 4).tolist() == timesteps(1000, 4).tolist()
    assert timesteps(LINEAR, 4).dtype == torch.long
    assert timesteps(7, 7).tolist() == [6, 5, 4, 3, 2, 1, 0]  # no room for the offset of 1


@given(st.integers(1, 1500), st.data())
@settings(deadline=None, max_examples=100)
def test_timesteps_fall_and_stay_in_range(T, data):
    steps = data.draw(st.integers(1, T))
    spacing = data.draw(st.sampled_from(SPACINGS))
    t = timesteps(T, steps, spacing, data.draw(st.integers(0, T)))
    assert len(t) == steps and t.min() >= 0 and t.max() <= T - 1
    assert steps == 1 or (t.diff() < 0).all()
    if spacing == "trailing":
        assert t[0] == T - 1


@given(st.sampled_from(list(SAMPLERS)), st.sampled_from(SPACINGS), st.booleans(), st.data())
@settings(deadline=None, max_examples=100)
def test_levels_go_down(sampler, spacing, zero_terminal, data):
    T = data.draw(st.integers(2, 300))
    name = data.draw(st.sampled_from(["linear", "scaled_linear", "cosine"]))
    steps, offset = data.draw(st.integers(1, T)), data.draw(st.integers(0, 2))
    schedule = getattr(NoiseSchedule, name)(T)
    if zero_terminal:
        schedule = schedule.with_zero_terminal_snr()
    t, levels = noise_levels(schedule, sampler, steps, spacing, offset)
    assert len(t) == len(levels) == steps and t.min() >= 0 and t.max() <= T - 1
    for sigma, sigma_next in levels:
        assert 0 <= sigma_next <= sigma < math.inf
    if sampler != "ddim":
        assert levels[-1][1] == 0
        assert all(a[1] == b[0] for a, b in zip(levels, levels[1:]))


def test_zero_terminal_snr_counts_as_in_diffusers():
    assert sigma_table(LINEAR.with_zero_terminal_snr())[-1] == pytest.approx(4096)
    assert sigma_table(LINEAR)[-1] == pytest.approx(1 / math.sqrt(LINEAR.snr()[-1]))


def test_karras_levels():
    sigmas = karras_sigmas(0.1, 10, 5)
    # equation 5 with ρ = 7: evenly spaced in σ^(1/7)
    assert np.allclose(np.diff(sigmas ** (1 / 7)), np.diff(sigmas ** (1 / 7))[0])
    assert np.allclose(sigmas[[0, -1]], [10, 0.1])
    assert karras_sigmas(0.1, 10, 1).tolist() == pytest.approx([10])


# --- bookkeeping --------------------------------------------------------------------------------


def flat(x, t):
    """The perfect model of nothing but noise: what remains is small."""
    return x


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_calls_and_what_the_model_is_given(sampler):
    seen = []

    def model(x, t):
        seen.append((x, t))
        return x * 0.9

    x = draw(3, 2, 4, 4)
    out = sample(model, x, LINEAR, sampler, 10, generator=generator())
    assert len(seen) == (19 if sampler == "heun" else 10)
    for x_t, t in seen:
        assert x_t.shape == x.shape and x_t.dtype == x.dtype and not x_t.requires_grad
        assert t.shape == (3,) and t.dtype == torch.int64 and t.unique().numel() == 1
    assert torch.allclose(seen[0][0], x, atol=1e-6)  # "leading": the model begins with x itself
    assert out.shape == x.shape and out.dtype == x.dtype and out is not x


@pytest.mark.parametrize("sampler", ["euler", "euler_a", "heun"])
def test_eulers_linspace_asks_between_timesteps(sampler):
    seen = []

    def model(x, t):
        seen.append(t)
        return x

    sample(model, draw(2, 3), LINEAR, sampler, 5, spacing="linspace")
    assert all(t.dtype == torch.float32 for t in seen)
    assert {749.25, 499.5, 249.75} <= {float(t[0]) for t in seen}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_callback(sampler):
    seen, asked = [], []

    def model(x, t):
        asked.append((x.clone(), int(t[0])))
        return 0.5 * x

    def callback(i, t, x, x0_hat):
        seen.append((i, t, x.clone(), x0_hat.clone()))
        x.zero_()  # damage to what it was given must not reach the sampler
        return "ignored"

    x = draw(2, 3)
    with_callback = sample(model, x, LINEAR, sampler, 6, generator=generator(), callback=callback)
    assert [i for i, *_ in seen] == list(range(6))
    expected, _ = noise_levels(LINEAR, sampler, 6)
    assert [t for _, t, *_ in seen] == expected.tolist()
    for _, t, x_t, x0 in seen:
        assert any(t == ta and torch.equal(x_t, xa) for xa, ta in asked)  # as the model saw it
        each = torch.full((2,), t)
        # 1/√ᾱ reaches 160 and multiplies float32's rounding of numbers up to 3; Karras' levels
        # lie beside the timestep that is asked for
        tolerance = {"atol": 2e-4, "rtol": 1e-4} if sampler != "dpmpp_2m_karras" else {"rtol": 0.1}
        assert torch.allclose(x0, predict_x0(x_t, each, LINEAR, 0.5 * x_t), **tolerance)
    without = sample(model, x, LINEAR, sampler, 6, generator=generator())
    assert torch.equal(with_callback, without)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_generators(sampler):
    def run(x, g):
        return sample(Gaussian(LINEAR, 0, 0.5), x, LINEAR, sampler, 5, generator=g)

    x = draw(3, 2, 4, 4)
    assert torch.equal(run(x, generator(3)), run(x, generator(3)))
    same = torch.equal(run(x, generator(3)), run(x, generator(4)))
    assert same == (sampler not in STOCHASTIC)
    together = run(x, [generator(s) for s in (3, 4, 5)])
    for i, seed in enumerate((3, 4, 5)):
        assert torch.allclose(together[i : i + 1], run(x[i : i + 1], generator(seed)), atol=1e-6)
    torch.manual_seed(0)
    first = run(x, None)
    torch.manual_seed(0)
    assert torch.equal(first, run(x, None))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_other_precisions(sampler, dtype):
    """Half precision is the model's affair: the state stays in float32, so nothing piles up.

    From zero terminal SNR on, where y is thousands or millions: float16 would overflow.
    """
    schedule = LINEAR.with_zero_terminal_snr()
    exact = Gaussian(schedule, 0.3, 0.5, "v_prediction")

    def model(x, t):
        assert x.dtype == dtype
        return exact(x.double(), t).to(dtype)

    x = draw(2, 3, 4, 4).to(dtype)
    # float32 noise for the halves, float64's own stream for float64
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    settings = (schedule, sampler, 40, "v_prediction", "trailing")
    out = sample(model, x, *settings, generator=generator())
    reference = sample(exact, x.to(wide), *settings, generator=generator())
    assert out.dtype == dtype
    # measured: half a unit of the last place, Karras one (the last rounding makes up most of it)
    assert (out.double() - reference.double()).abs().max() < 3 * torch.finfo(dtype).eps


def test_points_volumes_and_no_gradients():
    for shape in ((5, 2), (2, 3, 4), (1, 3, 4, 4, 4)):
        x = draw(*shape).requires_grad_()
        out = sample(Gaussian(LINEAR, 0, 1), x, LINEAR, steps=3)
        assert out.shape == shape and not out.requires_grad
    before = x.detach().clone()
    sample(Gaussian(LINEAR, 0, 1), x, LINEAR, steps=3)
    assert torch.equal(x, before)


def test_zero_terminal_snr_from_the_very_end():
    """ᾱ = 0 at the first step: finite, and the right answer for a Gaussian."""
    schedule = LINEAR.with_zero_terminal_snr()
    for sampler in SAMPLERS:
        for T_steps in (1, 50, 1000) if sampler != "heun" else (1, 50):
            model = Gaussian(schedule, 0.5, 0.3, "v_prediction")
            out = sample(
                model,
                draw(2000, 1),
                schedule,
                sampler,
                T_steps,
                "v_prediction",
                "trailing",
                generator=generator(),
            )
            assert out.isfinite().all()
            assert abs(float(out.mean()) - 0.5) < 0.05
            assert T_steps == 1 or abs(float(out.std()) - 0.3) < 0.05


@pytest.mark.gpu
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_on_the_gpu_as_on_the_cpu_and_without_stalls(sampler):
    schedule = NoiseSchedule.scaled_linear()
    x = draw(2, 3, 8, 8)

    def model(x, t):
        return torch.sin(x) + 0.1 * torch.cos(t.to(x.dtype) / 1000).view(-1, 1, 1, 1)

    on_cpu = sample(model, x, schedule, sampler, 8, "v_prediction", generator=generator())
    stalls = []

    def counting(x, t):
        if not stalls:  # after the first step, which looks whether the output is finite
            stalls.append(x)
        else:
            torch.cuda.set_sync_debug_mode("error")
        return model(x, t)

    x = x.to("cuda")
    g = torch.Generator("cuda").manual_seed(0)  # noise drawn on the CPU would have to be waited for
    try:
        on_gpu = sample(counting, x, schedule, sampler, 8, "v_prediction", generator=g)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if sampler not in STOCHASTIC:
        assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-4)
    on_gpu = sample(model, x, schedule, sampler, 8, "v_prediction", generator=generator())
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-4)  # a CPU generator: the same noise


def test_each_sampler_fits_on_a_slide():
    for function in set(SAMPLERS.values()):
        source = inspect.getsource(function)
        assert len(source.splitlines()) <= 20, function.__name__
        assert f"{function.__name__}(" in source and function.__doc__


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"sampler": "plms"}, ValueError, "'plms' is not one of ddpm, ddim, euler, euler_a"),
        ({"spacing": "log"}, ValueError, "'log' is not one of leading, trailing, linspace"),
        ({"prediction": "eps"}, ValueError, "'eps' is not one of epsilon, v_prediction, sample"),
        ({"steps": 0}, ValueError, "steps 0 is not in 1 … 1000"),
        ({"steps": 1001}, ValueError, "steps 1001 is not in 1 … 1000"),
        ({"steps": 2.5}, TypeError, "steps 2.5 is not a whole number"),
        ({"steps": True}, TypeError, "steps True is not a whole number"),
        ({"offset": -1}, ValueError, "offset -1 is not in 0 … 1000"),
        ({"x": torch.zeros(2, 3, dtype=torch.long)}, TypeError, "x is torch.int64"),
        ({"x": np.zeros((2, 3))}, TypeError, "x is ndarray"),
        ({"x": torch.zeros(3)}, ValueError, "x has shape [3]"),
        ({"x": torch.zeros(())}, ValueError, "x has shape []"),
        ({"schedule": LINEAR.with_zero_terminal_snr()}, ValueError, "v_prediction"),
        ({"generator": [generator()], "sampler": "ddpm"}, ValueError, "1 generators for 2"),
        ({"model": lambda x, t: x[:, :1]}, ValueError, "[2, 1] for an input of [2, 3]"),
        ({"model": lambda x, t: x / 0}, ValueError, "NaN or infinity"),
        ({"model": lambda x, t: (x,)}, TypeError, "returned a tuple, not a tensor"),
        ({"model": lambda x, t: None}, TypeError, "returned a NoneType, not a tensor"),
        (
            {"model": lambda x, t: type("UNet2DOutput", (SimpleNamespace,), {})(sample=x)},
            TypeError,
            "returned a UNet2DOutput, not a tensor: hand over model(x, t).sample",
        ),
    ],
)
def test_mistakes_are_named(arguments, error, says):
    usual = {"model": flat, "x": draw(2, 3), "schedule": LINEAR}
    with pytest.raises(error) as raised:
        sample(**{**usual, **arguments})
    assert says in str(raised.value)


def test_zero_terminal_snr_is_refused_for_epsilon_only():
    schedule, x = LINEAR.with_zero_terminal_snr(), draw(2, 3)
    with pytest.raises(ValueError, match="zero terminal SNR.*tells nothing about the picture"):
        sample(flat, x, schedule)
    for prediction in ("v_prediction", "sample"):
        assert sample(flat, x, schedule, prediction=prediction).isfinite().all()
