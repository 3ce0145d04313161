"""Every sampler gives what diffusers' scheduler of that name gives, on a fixed network.

Tolerance: 1e-4 in float32, absolute, on final values of the order of 1 to 5. Wherever it is wider,
or diffusers is brought to float64 first, the reason is beside it.
"""

import itertools

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from sdlearn.samplers import SAMPLERS, SPACINGS, noise_levels, sample, sigma_table, timesteps
from sdlearn.schedule import NoiseSchedule

# diffusers' own conversion of its tables to numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

THEIRS = {
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
}
BETAS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
    },
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")
TAKES_GENERATOR = tuple(THEIRS[name][0] for name in ("ddpm", "ddim", "euler", "euler_a"))


class Net(torch.nn.Module):
    """A smooth time-dependent network, the same denoiser whatever it is asked to predict.

    Its v is a small convolutional net of x_t and t; ε = √(1-ᾱ)·x_t + √ᾱ·v and
    x_0 = √ᾱ·x_t - √(1-ᾱ)·v follow. So nothing blows up where √ᾱ is small.
    """

    def __init__(self, schedule, prediction):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.first, self.last = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 3)
        self.time = torch.nn.Linear(2, 8)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=g) * 0.2
        self.alphas_cumprod, self.prediction = schedule.alphas_cumprod.numpy(), prediction
        self.calls, self.asked = 0, []

    def forward(self, x, t):
        self.calls += 1
        self.asked.append(t.detach().clone())
        T = len(self.alphas_cumprod)
        u = t.to(x.dtype) / T
        time = self.time(torch.stack([u, torch.cos(3 * u)], dim=-1))[:, :, None, None]
        hidden = torch.nn.functional.pad(torch.tanh(self.first(x) + time), (1, 1, 1, 1))
        v = self.last(hidden)
        alpha_bar = np.interp(t.double().numpy(), np.arange(T), self.alphas_cumprod)
        a = torch.from_numpy(alpha_bar).to(x.dtype)[:, None, None, None]
        if self.prediction == "epsilon":
            return (1 - a).sqrt() * x + a.sqrt() * v
        return v if self.prediction == "v_prediction" else a.sqrt() * x - (1 - a).sqrt() * v


def build(name, T, zero_terminal=False):
    schedule = getattr(NoiseSchedule, name)(T)
    return schedule.with_zero_terminal_snr() if zero_terminal else schedule


def scheduler(sampler, name, T, steps, prediction, spacing, offset, zero_terminal=False):
    kind, options = THEIRS[sampler]
    if zero_terminal:
        options = {**options, "rescale_betas_zero_snr": True}
    made = kind(
        num_train_timesteps=T,
        prediction_type=prediction,
        timestep_spacing=spacing,
        steps_offset=offset,
        **BETAS[name],
        **options,
    )
    made.set_timesteps(steps)
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(0)  # else it looks for the first timestep and trips over doubles
    return made


@torch.no_grad()
def their_sample(net, x, made, generator=None):
    x = x * made.init_noise_sigma
    for t in made.timesteps:
        output = net(made.scale_model_input(x, t), t.expand(len(x)))
        options = {"generator": generator} if isinstance(made, TAKES_GENERATOR) else {}
        x = made.step(output, t, x, **options).prev_sample
    return x


def noise(batch=2, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 8, 8, generator=g, dtype=dtype)


def both(sampler, name, T, steps, prediction, spacing, offset=1, zero_terminal=False):
    """Final values, ours and theirs; asserts that the model was called equally often."""
    schedule = build(name, T, zero_terminal)
    made = scheduler(sampler, name, T, steps, prediction, spacing, offset, zero_terminal)
    net, net2 = Net(schedule, prediction), Net(schedule, prediction)
    seeds = [torch.Generator().manual_seed(5) for _ in range(2)]
    expected = their_sample(net2, noise(), made, seeds[0])
    ours = sample(
        net, noise(), schedule, sampler, steps, prediction, spacing, offset, generator=seeds[1]
    )
    assert ours.isfinite().all()
    assert net.calls == net2.calls == (2 * steps - 1 if sampler == "heun" else steps)
    return ours, expected, net, net2


def has(sampler, prediction):
    return (sampler, prediction) != ("euler_a", "sample")  # diffusers: not implemented


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    ("sampler", "prediction"), [c for c in itertools.product(SAMPLERS, PREDICTIONS) if has(*c)]
)
def test_stable_diffusions_settings(sampler, prediction, spacing):
    """The schedule of Stable Diffusion; 5, 20 and 50 steps; every sampler, prediction, spacing."""
    for steps in (5, 20, 50):
        ours, expected, net, net2 = both(sampler, "scaled_linear", 1000, steps, prediction, spacing)
        assert (ours - expected).abs().max() < 1e-4, steps
        assert torch.equal(torch.stack(net.asked).double(), torch.stack(net2.asked).double())
        assert 0.3 < expected.abs().max() < 20  # the comparison is about numbers of that size


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("T", [100, 250])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_other_lengths_schedules_and_offsets(sampler, T, steps):
    """Few steps, dividing T or not, on short schedules; offset 0 and 1."""
    settings = itertools.product(BETAS, PREDICTIONS, SPACINGS, (0, 1))
    for i, (name, prediction, spacing, offset) in enumerate(settings):
        if not has(sampler, prediction) or (offset == 0 and spacing != "leading"):
            continue
        if (i + steps) % 2 and spacing != "leading":
            continue  # every second one, for time's sake
        schedule = build(name, T)
        ours, expected, *_ = both(sampler, name, T, steps, prediction, spacing, offset)
        tolerance = 1e-4 * max(1, float(expected.abs().max()))
        if name == "cosine":
            # From y = 2,000 and more the picture is found by subtraction: rounding times σ_T
            tolerance += 10 * 1.2e-7 * float(sigma_table(schedule)[-1])
        if sampler == "heun":
            # (y - x_0)/σ at the lowest σ, 0.006: rounding divided by it
            tolerance *= 10
        assert (ours - expected).abs().max() < tolerance, (name, prediction, spacing, offset)


@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize("name", BETAS)
@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "heun"])  # diffusers has none
def test_zero_terminal_snr(sampler, name, steps):
    for prediction, spacing in itertools.product(("v_prediction", "sample"), SPACINGS):
        if has(sampler, prediction):
            ours, expected, *_ = both(sampler, name, 1000, steps, prediction, spacing, 1, True)
            assert (ours - expected).abs().max() < 1e-4, (prediction, spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun"])
@pytest.mark.parametrize(("name", "steps"), [("linear", 50), ("cosine", 20), ("cosine", 100)])
def test_in_double_precision(sampler, name, steps, spacing):
    """Those of diffusers' schedulers that let themselves be put into float64, tables included.

    In float32 diffusers loses up to 1e-3 where β is small (1 - ᾱ_t/ᾱ_{t-1}: rounding of 6e-8
    against 4e-5) or σ large; here nothing hides behind that. 1e-5: the tables stay those of the
    float32 schedule.
    """
    T = 100 if steps == 100 else 1000
    offset = 0 if steps == T else 1
    schedule = build(name, T)
    made = scheduler(sampler, name, T, steps, "epsilon", spacing, offset)
    made.alphas_cumprod = made.alphas_cumprod.double()
    if sampler == "ddpm":
        made.one = made.one.double()
    if sampler == "ddim":
        made.final_alpha_cumprod = made.alphas_cumprod[0]
    if sampler == "heun":
        made.sigmas = made.sigmas.double()
    net, x = Net(schedule, "epsilon").double(), noise(3, torch.float64)
    seeds = [torch.Generator().manual_seed(5) for _ in range(2)]
    expected = their_sample(net, x, made, seeds[0])
    ours = sample(net, x, schedule, sampler, steps, "epsilon", spacing, offset, generator=seeds[1])
    assert ours.dtype == torch.float64
    assert (ours - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize(
    ("sampler", "steps", "offset"),
    [
        ("ddim", 1000, 0),
        ("ddim", 999, 1),
        ("euler", 1000, 0),
        (
            "euler",
            1000,
            1,
        ),  # no room for the offset: diffusers begins with a step that does nothing
        ("euler_a", 1000, 1),
        ("heun", 999, 1),
    ],
)
def test_nearly_all_and_all_of_a_thousand_steps(sampler, steps, offset):
    ours, expected, *_ = both(
        sampler, "scaled_linear", 1000, steps, "v_prediction", "leading", offset
    )
    assert (ours - expected).abs().max() < 1e-4


def diffusers_fails(made, net):
    try:
        result = their_sample(net, noise(), made, torch.Generator().manual_seed(0))
    except IndexError:
        return True
    return not result.isfinite().all()


@pytest.mark.parametrize(
    ("sampler", "name", "steps", "spacing", "offset"),
    [
        ("dpmpp_2m", "linear", 100, "leading", 0),  # NaN: its stride is 100//101 = 0
        ("dpmpp_2m", "linear", 99, "leading", 1),  # NaN: t = 100 doubles 99
        ("dpmpp_2m", "linear", 100, "linspace", 1),  # NaN: 101 timesteps out of 100
        ("ddpm", "linear", 100, "leading", 1),  # IndexError: t = 100
        ("ddim", "linear", 100, "leading", 1),
    ],
)
def test_where_diffusers_fails_the_result_is_sensible(sampler, name, steps, spacing, offset):
    schedule = build(name, 100)
    net = Net(schedule, "v_prediction")
    made = scheduler(sampler, name, 100, steps, "v_prediction", spacing, offset)
    assert diffusers_fails(made, net)
    g = torch.Generator().manual_seed(0)
    ours = sample(
        net, noise(), schedule, sampler, steps, "v_prediction", spacing, offset, generator=g
    )
    assert ours.isfinite().all()
    if steps == 100:
        assert torch.equal(timesteps(schedule, steps, spacing, offset), torch.arange(100).flip(0))
    if sampler != "ddpm":  # all of them solve one equation, and 100 steps solve it well
        solved = sample(net, noise(), schedule, "euler", 100, "v_prediction", "leading", 0)
        # both err by the order of 1/100 of values up to 2; DDIM leaves noise of 0.01 standing
        _, levels = noise_levels(schedule, sampler, steps, spacing, offset)
        assert (ours - solved).abs().max() < 0.03 + 4 * levels[-1][1]


@pytest.mark.parametrize("T", [100, 250, 1000])
def test_timesteps_are_diffusers_for_every_number_of_steps(T):
    made = DDPMScheduler(T)
    compared = 0
    for spacing, offset in (("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)):
        made.register_to_config(timestep_spacing=spacing, steps_offset=offset)
        for steps in range(1, T + 1):
            ours = timesteps(T, steps, spacing, offset)
            assert len(ours) == steps and ours.max() <= T - 1 and ours.min() >= 0
            assert steps == 1 or (ours.diff() < 0).all()
            made.set_timesteps(steps)
            if len(made.timesteps) == steps and made.timesteps.max() < T:
                assert torch.equal(ours, made.timesteps), (spacing, steps)
                compared += 1
    # left out: offset 1 with steps = T, and where diffusers' "trailing" visits t = -1 at the end
    assert compared > 4 * T - T // 5


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_are_diffusers_sigmas(sampler, spacing):
    for name, steps in itertools.product(BETAS, (1, 4, 25)):
        made = scheduler(sampler, name, 1000, steps, "epsilon", spacing, 1)
        t, levels = noise_levels(build(name, 1000), sampler, steps, spacing, 1)
        expected = made.timesteps
        if sampler == "heun":  # which has every timestep but the first twice
            expected = torch.cat([expected[:1], expected[1::2]])
        assert torch.equal(t.double(), expected.double())
        assert t.dtype == (torch.float32 if t.is_floating_point() else torch.int64)
        if hasattr(made, "sigmas"):
            sigmas = made.sigmas.double()
            if sampler == "heun":
                sigmas = torch.cat([sigmas[:1], sigmas[1:-1:2], sigmas[-1:]])
            ours = torch.tensor([a for a, _ in levels] + [levels[-1][1]], dtype=torch.float64)
            assert torch.allclose(ours, sigmas, rtol=1e-6, atol=0)
