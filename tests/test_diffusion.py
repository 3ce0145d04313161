"""The forward process, its reversal and the loss: held to algebra, to brute force, to diffusers."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlearn.diffusion import (
    PREDICTIONS,
    check_output,
    loss_per_picture,
    min_snr_weight,
    p_step,
    predict_x0,
    q_posterior,
    q_sample,
    q_step,
    randn_like,
    target,
    training_loss,
)
from sdlearn.schedule import NoiseSchedule

SCHEDULES = {
    "linear": NoiseSchedule.linear(),
    "scaled_linear": NoiseSchedule.scaled_linear(),
    "cosine": NoiseSchedule.cosine(),
    "short": NoiseSchedule.linear(20, 0.01, 0.5),
}
betas_lists = st.lists(st.floats(1e-3, 0.9), min_size=1, max_size=40)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=4, dtype=torch.float32, seed=0):
    x0 = torch.rand(batch, 3, 5, 5, generator=generator(seed), dtype=dtype) * 2 - 1
    return x0, torch.randn(x0.shape, generator=generator(seed + 1), dtype=dtype)


def in_double(schedule):
    return NoiseSchedule(schedule.betas.double())


# --- the forward process ------------------------------------------------------------------------


@given(betas_lists, st.floats(-1, 1))
@settings(deadline=None, max_examples=60)
def test_closed_form_is_the_iterated_steps(betas, x0):
    """Composing the affine steps gives the closed form's mean and variance, for every t."""
    schedule = NoiseSchedule(torch.tensor(betas, dtype=torch.float64))
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    mean, variance = torch.full((1,), x0, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for i in range(len(betas)):
        t = torch.tensor([i])
        mean = q_step(mean, t, schedule, zero)
        scale, spread = q_step(one, t, schedule, zero), q_step(zero, t, schedule, one)
        variance = scale**2 * variance + spread**2
        start = torch.full((1,), x0, dtype=torch.float64)
        assert torch.allclose(q_sample(start, t, schedule, zero), mean, atol=1e-12)
        assert torch.allclose(q_sample(zero, t, schedule, one) ** 2, variance, atol=1e-12)


def test_four_hundred_drawn_steps_agree_with_the_jump():
    schedule, x = in_double(SCHEDULES["linear"]), torch.full((20_000, 1), 0.7, dtype=torch.float64)
    g = generator()
    for i in range(400):
        noise = torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = q_step(x, torch.tensor([i]), schedule, noise)
    alpha_bar = float(schedule.alphas_cumprod[399])
    # five standard errors of the mean and of the standard deviation of 20,000 draws
    std = math.sqrt(1 - alpha_bar)
    assert abs(float(x.mean()) - 0.7 * math.sqrt(alpha_bar)) < 5 * std / math.sqrt(20_000)
    assert abs(float(x.std()) - std) < 5 * std / math.sqrt(40_000)


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine"])
def test_forward_process_is_bit_equal_to_diffusers(name):
    schedule = SCHEDULES[name]
    reference = DDPMScheduler(trained_betas=schedule.betas.numpy())
    x0, noise = pictures(batch=1000)
    t = torch.arange(1000)  # every timestep once
    assert torch.equal(q_sample(x0, t, schedule, noise), reference.add_noise(x0, noise, t))
    velocity = target(x0, noise, t, schedule, "v_prediction")
    assert torch.equal(velocity, reference.get_velocity(x0, noise, t))


def test_each_picture_has_its_own_timestep():
    schedule, (x0, noise) = SCHEDULES["linear"], pictures()
    t = torch.tensor([0, 400, 999, 400])
    together = q_sample(x0, t, schedule, noise)
    for i in range(4):
        alone = q_sample(x0[i : i + 1], t[i : i + 1], schedule, noise[i : i + 1])
        assert torch.equal(together[i : i + 1], alone)


@pytest.mark.parametrize("function", [q_step, q_sample])
def test_points_and_half_precision_work_too(function):
    points = torch.zeros(3, 2, dtype=torch.float16)
    out = function(points, torch.tensor([1, 5, 9]), SCHEDULES["linear"], torch.ones_like(points))
    assert out.shape == (3, 2) and out.dtype == torch.float16


# --- the posterior ------------------------------------------------------------------------------


@given(betas_lists, st.floats(-1, 1), st.floats(-3, 3), st.data())
@settings(deadline=None, max_examples=60)
def test_posterior_is_bayes_by_brute_force(betas, x0, x_t, data):
    """q(x_{t-1} | x_t, x_0) ∝ q(x_t | x_{t-1}) q(x_{t-1} | x_0), integrated on a grid."""
    i = data.draw(st.integers(0, len(betas) - 1))
    schedule = NoiseSchedule(torch.tensor(betas, dtype=torch.float64))
    x0, x_t = (torch.full((1,), value, dtype=torch.float64) for value in (x0, x_t))
    mean, variance = q_posterior(x0, x_t, torch.tensor([i]), schedule)
    if i == 0:
        # 1 - (1 - β) differs from β by rounding: 1e-16/1e-3
        assert torch.allclose(mean, x0, atol=1e-12) and variance.abs() < 1e-15
        return
    before = schedule.alphas_cumprod[i - 1]
    prior_mean, prior_std = before.sqrt() * x0, (1 - before).sqrt()
    beta = schedule.betas[i]
    # centre and width of the grid come from the two factors alone, not from the answer
    width = torch.minimum(prior_std, (beta / (1 - beta)).sqrt())
    low = torch.minimum(prior_mean, x_t / (1 - beta).sqrt()) - 12 * width
    high = torch.maximum(prior_mean, x_t / (1 - beta).sqrt()) + 12 * width
    points = int(((high - low) / width * 40).clamp(1000, 2_000_000))
    x = torch.linspace(float(low), float(high), points, dtype=torch.float64)
    log_density = -((x_t - (1 - beta).sqrt() * x) ** 2) / (2 * beta)
    log_density = log_density - (x - prior_mean) ** 2 / (2 * prior_std**2)
    weight = (log_density - log_density.max()).exp()
    weight = weight / weight.sum()
    brute_mean = (weight * x).sum()
    brute_variance = (weight * (x - brute_mean) ** 2).sum()
    assert torch.allclose(mean, brute_mean, atol=1e-6)
    assert torch.allclose(variance.flatten(), brute_variance.reshape(1), rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_posterior_leads_back_along_the_chain(name):
    """Averaged over x_t given x_0, the posterior of x_{t-1} is q(x_{t-1} | x_0)."""
    schedule = in_double(SCHEDULES[name])
    T = len(schedule)
    t = torch.arange(1, T)
    zero, one = torch.zeros(T - 1, 1, dtype=torch.float64), torch.ones(T - 1, 1).double()
    on_x0, variance = q_posterior(one, zero, t, schedule)
    on_x_t, _ = q_posterior(zero, one, t, schedule)
    alpha_bar = schedule.alphas_cumprod[1:, None]
    before = schedule.alphas_cumprod[:-1, None]
    assert torch.allclose(on_x0 + on_x_t * alpha_bar.sqrt(), before.sqrt(), atol=1e-10)
    assert torch.allclose(variance + on_x_t**2 * (1 - alpha_bar), 1 - before, atol=1e-10)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine"])
def test_one_step_back_is_diffusers_step(name, prediction):
    """p_step is DDPMScheduler.step over all T timesteps, in float64 (its tables are patched)."""
    schedule = in_double(SCHEDULES[name])
    reference = DDPMScheduler(
        trained_betas=SCHEDULES[name].betas.numpy(),
        clip_sample=False,
        prediction_type=prediction,
    )
    reference.alphas_cumprod = schedule.alphas_cumprod
    reference.one = reference.one.double()
    x_t, output = (torch.randn(2, 3, 4, 4, generator=generator(s)).double() for s in (1, 2))
    for i in (999, 998, 500, 20, 1, 0):
        t = torch.tensor([i, i])
        x0 = predict_x0(x_t, t, schedule, output, prediction)
        noise = torch.randn(x_t.shape, generator=generator(i), dtype=x_t.dtype)
        expected = reference.step(output, i, x_t, generator=generator(i))
        # relative to the guess: from noise at ᾱ = 2e-9 it is of the order of 10,000
        scale = float(expected.pred_original_sample.abs().max())
        assert (x0 - expected.pred_original_sample).abs().max() < 1e-9 * scale
        ours = p_step(x_t, t, schedule, x0, noise)
        assert (ours - expected.prev_sample).abs().max() < 1e-9 * scale


def test_the_last_step_adds_no_noise():
    schedule = SCHEDULES["linear"]
    x0, x_t = pictures()
    t = torch.zeros(4, dtype=torch.long)
    quiet = p_step(x_t, t, schedule, x0, torch.zeros_like(x0))
    assert torch.equal(p_step(x_t, t, schedule, x0, torch.randn_like(x0)), quiet)
    # β_0 = 1e-4, and 1 - ᾱ_0 in float32 is that within 6e-8: 6e-4 relative
    assert torch.allclose(quiet, x0, rtol=6e-4)


def test_zero_terminal_snr_posterior_is_finite():
    schedule = SCHEDULES["cosine"].with_zero_terminal_snr()
    x0, x_t = pictures(batch=2)
    mean, variance = q_posterior(x0, x_t, torch.tensor([999, 998]), schedule)
    assert mean.isfinite().all() and variance.isfinite().all()
    # x_T holds nothing of x_0, so neither does x_{T-1}'s mean hold anything of x_T
    assert torch.allclose(mean[0], schedule.alphas_cumprod[998].sqrt() * x0[0])


# --- the three parameterisations ----------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_predict_x0_inverts_q_sample_at_every_t(name, prediction):
    schedule = in_double(SCHEDULES[name])
    T = len(schedule)
    x0, noise = pictures(batch=T, dtype=torch.float64)
    t = torch.arange(T)
    x_t = q_sample(x0, t, schedule, noise)
    answer = target(x0, noise, t, schedule, prediction)
    # 1/√ᾱ reaches 2e4 (cosine), which multiplies float64's rounding
    assert torch.allclose(predict_x0(x_t, t, schedule, answer, prediction), x0, atol=1e-10)


@given(st.sampled_from(PREDICTIONS), st.integers(0, 999), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_predict_x0_inverts_q_sample_in_single_precision(prediction, i, seed):
    schedule = SCHEDULES["scaled_linear"]
    x0, noise = pictures(seed=seed)
    t = torch.full((4,), i)
    x_t = q_sample(x0, t, schedule, noise)
    answer = target(x0, noise, t, schedule, prediction)
    # √(1-ᾱ)/√ᾱ ≤ 15 of them, each with a handful of roundings of 6e-8 of numbers up to 5
    assert torch.allclose(predict_x0(x_t, t, schedule, answer, prediction), x0, atol=5e-5)


def test_targets_by_hand():
    schedule = NoiseSchedule(torch.tensor([0.36], dtype=torch.float64))  # √ᾱ = 0.8, √(1-ᾱ) = 0.6
    x0, noise = torch.tensor([[2.0]]).double(), torch.tensor([[5.0]]).double()
    t = torch.tensor([0])
    assert target(x0, noise, t, schedule).item() == 5
    assert target(x0, noise, t, schedule, "sample").item() == 2
    assert target(x0, noise, t, schedule, "v_prediction").item() == pytest.approx(0.8 * 5 - 0.6 * 2)
    assert q_sample(x0, t, schedule, noise).item() == pytest.approx(0.8 * 2 + 0.6 * 5)


def test_a_wrong_prediction_name_lists_the_right_ones():
    schedule, (x0, noise) = SCHEDULES["linear"], pictures()
    t = torch.zeros(4, dtype=torch.long)
    for call in (
        lambda: target(x0, noise, t, schedule, "eps"),
        lambda: predict_x0(x0, t, schedule, noise, "eps"),
        lambda: min_snr_weight(t, schedule, 5, "eps"),
        lambda: training_loss(lambda x, t: x, x0, schedule, "eps"),
    ):
        with pytest.raises(ValueError, match="'eps' is not one of epsilon, v_prediction, sample"):
            call()


# --- the loss -----------------------------------------------------------------------------------


def model(x, t):
    return torch.sin(x) + t.view(-1, 1, 1, 1) / 1000


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_by_hand(prediction):
    schedule, (x0, _) = SCHEDULES["scaled_linear"], pictures()
    g = generator(3)
    t = torch.randint(1000, (4,), generator=g)
    noise = torch.randn(x0.shape, generator=g)
    a, s = (v[:, None, None, None] for v in _roots(schedule, t))
    answer = model(a * x0 + s * noise, t)
    truth = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - s * x0}[prediction]
    per_picture = torch.stack([((answer[i] - truth[i]) ** 2).mean() for i in range(4)])
    ours = loss_per_picture(model, x0, t, noise, schedule, prediction)
    assert torch.allclose(ours, per_picture, rtol=1e-5)
    loss = training_loss(model, x0, schedule, prediction, generator=generator(3))
    assert loss.shape == () and torch.allclose(loss, per_picture.mean(), rtol=1e-5)

    # min-SNR (Hang et al. 2023): min(SNR, γ) over SNR, SNR + 1 or 1
    snr = (a / s).flatten() ** 2
    weight = torch.minimum(snr, torch.tensor(5.0))
    weight = weight / {"epsilon": snr, "sample": 1, "v_prediction": snr + 1}[prediction]
    loss = training_loss(model, x0, schedule, prediction, snr_gamma=5, generator=generator(3))
    assert torch.allclose(loss, (weight * per_picture).mean(), rtol=1e-4)


def _roots(schedule, t):
    alpha_bar = torch.tensor([math.prod((1 - schedule.betas[: i + 1]).tolist()) for i in t])
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


@given(st.floats(0.1, 50), st.integers(0, 998))
@settings(deadline=None, max_examples=60)
def test_min_snr_weights_weigh_the_error_of_x0_alike(gamma, i):
    """One error of x_0 costs min(SNR, γ) times its square, whatever the model predicts."""
    schedule = in_double(SCHEDULES["linear"])
    t = torch.tensor([i])
    snr = float(schedule.snr(t))
    expected = min(snr, gamma)
    error_of_x0_squared = {"sample": 1, "epsilon": 1 / snr, "v_prediction": 1 / (1 + snr)}
    for prediction in PREDICTIONS:
        weight = float(min_snr_weight(t, schedule, gamma, prediction))
        assert weight / error_of_x0_squared[prediction] == pytest.approx(expected, rel=1e-9)


def test_min_snr_at_zero_terminal_snr_is_finite():
    schedule = SCHEDULES["linear"].with_zero_terminal_snr()
    t = torch.tensor([999])
    weights = [float(min_snr_weight(t, schedule, 5, p)) for p in PREDICTIONS]
    assert weights == [1, 0, 0]


def test_loss_is_reproducible_and_draws_every_timestep():
    schedule, (x0, _) = NoiseSchedule.linear(10), pictures(batch=300)
    seen = []

    def spy(x, t):
        assert t.dtype == torch.long and t.shape == (300,)
        seen.append(t)
        return x

    first = training_loss(spy, x0, schedule, generator=generator(1))
    again = training_loss(spy, x0, schedule, generator=generator(1))
    other = training_loss(spy, x0, schedule, generator=generator(2))
    assert first == again and first != other
    assert sorted(set(seen[0].tolist())) == list(range(10))
    torch.manual_seed(0)
    a = training_loss(spy, x0, schedule)
    torch.manual_seed(0)
    assert training_loss(spy, x0, schedule) == a


def test_context_is_handed_over_only_when_given():
    schedule, (x0, _) = SCHEDULES["linear"], pictures()
    calls = []

    def spy(*arguments):
        calls.append(arguments)
        return arguments[0]

    context = torch.zeros(4, 7, 8)
    training_loss(spy, x0, schedule)
    training_loss(spy, x0, schedule, context=context)
    assert [len(c) for c in calls] == [2, 3] and calls[1][2] is context


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("snr_gamma", [None, 5])
def test_gradients_reach_the_model(prediction, snr_gamma):
    schedule, (x0, _) = SCHEDULES["linear"], pictures()
    net = torch.nn.Conv2d(3, 3, 1)
    loss = training_loss(lambda x, t: net(x), x0, schedule, prediction, snr_gamma=snr_gamma)
    loss.backward()
    for parameter in net.parameters():
        assert parameter.grad.abs().sum() > 0 and parameter.grad.isfinite().all()


def test_half_precision_loss_is_computed_in_single():
    schedule, (x0, _) = SCHEDULES["linear"], pictures(dtype=torch.float16)
    loss = training_loss(lambda x, t: x * 0, x0, schedule, generator=generator())
    assert loss.dtype == torch.float32 and loss.isfinite()
    # the target is standard normal noise: 300 squares with mean 1
    assert abs(float(loss) - 1) < 5 * math.sqrt(2 / 300)


def test_a_model_that_answers_wrongly_is_named():
    schedule, (x0, _) = SCHEDULES["linear"], pictures()
    output = type("UNet2DOutput", (SimpleNamespace,), {})
    with pytest.raises(TypeError, match=r"UNet2DOutput.*model\(x, t\)\.sample"):
        training_loss(lambda x, t: output(sample=x), x0, schedule)
    with pytest.raises(ValueError, match=r"\[4, 1, 5, 5\].*\[4, 3, 5, 5\]"):
        training_loss(lambda x, t: x[:, :1], x0, schedule)
    assert check_output(x0, x0) is x0


# --- noise --------------------------------------------------------------------------------------


def test_a_list_of_generators_makes_pictures_independent_of_their_batch():
    x = torch.zeros(3, 2, 4, 4)
    together = randn_like(x, [generator(s) for s in (5, 6, 7)])
    for i, seed in enumerate((5, 6, 7)):
        assert torch.equal(together[i], torch.randn(1, 2, 4, 4, generator=generator(seed))[0])
    assert torch.equal(randn_like(x, generator(5)), torch.randn(x.shape, generator=generator(5)))
    assert randn_like(x.double()).dtype == torch.float64
    with pytest.raises(ValueError, match="2 generators for 3 pictures"):
        randn_like(x, [generator(), generator()])
