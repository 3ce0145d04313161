"""The autoencoder is diffusers' AutoencoderKL; its losses and its tiles do what they say."""

import copy
import json
import logging

import pytest
import torch
from diffusers import AutoencoderKL as Theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlearn.data import load_images, to_tensor
from sdlearn.metrics import FeatureNet
from sdlearn.vae import (
    AutoencoderKL,
    DiagonalGaussian,
    complete,
    decode_tiled,
    encode_tiled,
    tiles,
)
from sdlearn.vae_loss import (
    PatchCritic,
    autoencoder_loss,
    colour_loss,
    critic_losses,
    gradient_loss,
    perceptual_loss,
)

logging.getLogger("diffusers").setLevel(logging.ERROR)


def blocks(levels):
    return {
        "down_block_types": levels * ("DownEncoderBlock2D",),
        "up_block_types": levels * ("UpDecoderBlock2D",),
    }


SD = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512, **blocks(4))
CONFIGS = {
    "Stable Diffusion's, narrow": {
        **SD,
        "block_out_channels": (16, 32, 48, 48),
        "norm_num_groups": 16,
    },
    "the course's": dict(
        block_out_channels=(16, 32, 64), norm_num_groups=8, sample_size=64, **blocks(3)
    ),
    "no attention, no outer convolutions": dict(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=3,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.5,
        **blocks(2),
    ),
    "one level, gray": dict(
        in_channels=1, out_channels=1, block_out_channels=(16,), norm_num_groups=4
    ),
}


def both(config, seed=0):
    """diffusers' autoencoder with weights that are no defaults, and ours."""
    torch.manual_seed(seed)
    theirs = Theirs(**config).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    ours = AutoencoderKL.from_config(json.loads(theirs.to_json_string()))
    ours.load_state_dict(theirs.state_dict())  # strict: the same names and shapes
    return theirs, ours.eval()


def relative(got, expected):
    """The largest difference, in units of the largest number."""
    return float((got - expected).detach().abs().max() / expected.detach().abs().max())


# --- equal to diffusers ---------------------------------------------------------------------------


def compare(theirs, ours, x, limit=1e-5):
    """Moments, KL, reconstruction, and the gradients of all weights."""
    expected, got = theirs.encode(x).latent_dist, ours.encode(x)
    assert relative(got.mean, expected.mean) < limit
    assert relative(got.logvar, expected.logvar) < limit
    assert relative(got.kl(), expected.kl()) < limit
    z = torch.randn_like(expected.mean)
    y, y_expected = ours.decode(z), theirs.decode(z).sample
    assert y.shape == x.shape and relative(y, y_expected) < limit
    look = torch.randn_like(y)
    ((y * look).sum() + got.kl().sum()).backward()
    ((y_expected * look).sum() + expected.kl().sum()).backward()
    largest = max(p.grad.abs().max() for p in theirs.parameters())
    named = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        got, expected = named[name].grad, parameter.grad
        if expected.abs().max() < 1e-6 * largest:
            # 0 in exact arithmetic, as of a bias before a norm of single channels: noise in both.
            assert got.abs().max() < 1e-6 * largest, name
        else:
            assert (got - expected).abs().max() < limit * max(
                expected.abs().max(), 1e-2 * largest
            ), name


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_and_gradients(name):
    config = CONFIGS[name]
    theirs, ours = both(config)
    compare(theirs, ours, torch.rand(2, config.get("in_channels", 3), 32, 48) * 2 - 1)


@given(
    sizes=st.lists(st.sampled_from([8, 16, 24]), min_size=1, max_size=4),
    layers=st.integers(1, 3),
    latents=st.integers(1, 6),
    groups=st.sampled_from([2, 4, 8]),
    attention=st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_configurations_that_nobody_listed(sizes, layers, latents, groups, attention):
    config = dict(
        block_out_channels=tuple(sizes),
        layers_per_block=layers,
        latent_channels=latents,
        norm_num_groups=groups,
        mid_block_add_attention=attention,
        **blocks(len(sizes)),
    )
    theirs, ours = both(config)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        # Groups of a channel or two on 4 × 4 places magnify rounding: hence not 1e-5.
        expected = theirs.encode(x).latent_dist.mean
        assert relative(ours.encode(x).mean, expected) < 1e-4
        assert relative(ours.decode(expected), theirs.decode(expected).sample) < 1e-4


def test_stable_diffusion_at_full_size():
    """Keys and shapes on the meta device: 83.7 M parameters."""
    with torch.device("meta"):
        theirs, ours = Theirs(**SD), AutoencoderKL.from_config(SD)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (theirs, ours)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in ours.parameters()) == 83_653_863
    assert ours.downscale == 8 and ours.scaling_factor == 0.18215


def test_names_of_old_files():
    _, ours = both(CONFIGS["the course's"])
    weights = ours.state_dict()
    new = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", "to_out.0": "proj_attn"}
    old = {}
    for name, x in weights.items():
        for here, there in new.items():
            name = name.replace(here, there)
        old[name] = x + 1
    assert len(set(old) - set(weights)) == 16
    before = dict(old)
    ours.load_state_dict(old)
    for (_, got), expected in zip(sorted(ours.state_dict().items()), sorted(before)):
        assert got.shape == before[expected].shape
    got = ours.state_dict()["encoder.mid_block.attentions.0.to_v.weight"]
    assert torch.equal(got, before["encoder.mid_block.attentions.0.value.weight"])
    assert set(old) == set(before)  # what was given is not changed


def test_loading_says_what_is_missing():
    _, ours = both(CONFIGS["the course's"])
    weights = ours.state_dict()
    del weights["quant_conv.bias"]
    with pytest.raises(RuntimeError, match="quant_conv.bias"):
        ours.load_state_dict(weights)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"act_fn": "relu"}, "act_fn"),
        ({"shift_factor": 0.1}, "shift_factor"),
        ({"spice": 1}, "spice"),
        ({"_class_name": "VQModel"}, "VQModel"),
        ({"norm_num_groups": 7}, "7 groups"),
        ({"down_block_types": ("DownBlock2D",) * 3}, "down_block_types"),
        ({"up_block_types": ("UpDecoderBlock2D",)}, "3 times"),
    ],
)
def test_configurations_that_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        complete({**CONFIGS["the course's"], **change})


@pytest.mark.parametrize(
    "shape, message",
    [
        ([1, 3, 30, 32], "try 28 or 32"),
        ([1, 3, 32, 3], "try 4"),
        ([1, 4, 32, 32], "expects"),
        ([3, 32, 32], "expects"),
    ],
)
def test_pictures_that_are_refused(shape, message):
    _, ours = both(CONFIGS["the course's"])
    with pytest.raises(ValueError, match=message):
        ours.encode(torch.zeros(shape))


def test_latents_that_are_refused():
    _, ours = both(CONFIGS["the course's"])
    with pytest.raises(ValueError, match=r"z has shape \[1, 3, 8, 8\]"):
        ours.decode(torch.zeros(1, 3, 8, 8))


# --- the distribution -----------------------------------------------------------------------------


def test_sample_has_the_distribution_and_gradients():
    moments = torch.tensor([[2.0, -1.0, 0.0, -2.0]]).view(1, 4, 1, 1).expand(20_000, 4, 1, 1)
    moments = moments.clone().requires_grad_()
    z = DiagonalGaussian(moments).sample(torch.Generator().manual_seed(0))
    # Standard errors: 1/√20,000 = 0.007, and 0.005 of a standard deviation of 1.
    assert z[:, 0].mean().item() == pytest.approx(2, abs=0.03)
    assert z[:, 0].std().item() == pytest.approx(1, abs=0.02)
    assert z[:, 1].std().item() == pytest.approx(torch.tensor(-1.0).exp().item(), abs=0.01)
    z.sum().backward()
    assert moments.grad[:, :2].eq(1).all() and moments.grad[:, 2:].ne(0).any()


def test_sample_repeats_with_its_generator():
    latents = DiagonalGaussian(torch.zeros(1, 2, 3, 3))
    draw = lambda seed: latents.sample(torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_kl_is_that_of_samples():
    latents = DiagonalGaussian(torch.tensor([0.7, -0.3]).view(1, 2, 1, 1).expand(200_000, 2, 1, 1))
    z = latents.sample(torch.Generator().manual_seed(0))
    q = torch.distributions.Normal(latents.mean, latents.std).log_prob(z)
    p = torch.distributions.Normal(0, 1).log_prob(z)
    # The log ratio has a standard deviation below 1: its mean, one of 0.002.
    assert (q - p).mean().item() == pytest.approx(latents.kl()[0].item(), abs=0.01)


def test_extreme_moments_stay_finite():
    latents = DiagonalGaussian(torch.tensor([0.0, 1e4, 0.0, -1e4]).view(2, 2, 1, 1))
    assert torch.isfinite(latents.kl()).all() and torch.isfinite(latents.sample()).all()


# --- losses ---------------------------------------------------------------------------------------


def test_gradient_loss_sees_edges_only():
    a = torch.rand(2, 3, 8, 8)
    assert gradient_loss(a, a + 0.5).item() == pytest.approx(0, abs=1e-6)
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    # One of seven differences across is 1, all those down are 0.
    assert gradient_loss(edge, torch.zeros_like(edge)).item() == pytest.approx(1 / 7)
    assert gradient_loss(edge.mT, torch.zeros_like(edge)).item() == pytest.approx(1 / 7)


def test_colour_loss_sees_colour_and_no_detail():
    grey = torch.zeros(1, 3, 8, 8)
    checks = torch.tensor([1.0, -1.0]).repeat(4)[:, None] * torch.tensor([1.0, -1.0]).repeat(4)
    assert colour_loss(grey + checks, grey).item() == pytest.approx(0, abs=1e-6)
    redder = grey.clone()
    redder[:, 0] += 0.6
    assert colour_loss(redder, grey).item() == pytest.approx(0.2)
    one = grey.clone()
    one[:, :, :4, :4] += 0.8  # one square of four: others do not make up for it
    other = grey.clone()
    other[:, :, 4:, 4:] += 0.8
    assert colour_loss(one, other).item() == pytest.approx(0.4)
    assert colour_loss(one, other, side=8).item() == pytest.approx(0)


def test_perceptual_loss_prefers_sharp_to_blurred():
    features, x = FeatureNet.load(), to_tensor(load_images("photos", 64))
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    size = (blurred - x).square().mean().sqrt()
    brighter = x + size  # as far in pixels as the blurred one
    assert perceptual_loss(features, x, x).item() == pytest.approx(0, abs=1e-6)
    assert perceptual_loss(features, blurred, x) > 1.3 * perceptual_loss(features, brighter, x)


def test_critic_losses_reach_only_whom_they_should():
    torch.manual_seed(0)
    critic, real = PatchCritic(8), torch.randn(2, 3, 16, 16)
    fake = torch.randn(2, 3, 16, 16, requires_grad=True)
    fool, catch = critic_losses(critic, real, fake)
    fool.backward(retain_graph=True)
    assert fake.grad.abs().sum() > 0 and all(p.grad is None for p in critic.parameters())
    fake.grad = None
    catch.backward()
    assert fake.grad is None and all(p.grad is not None for p in critic.parameters())


def test_critic_learns_to_tell_and_its_hinge_stops():
    torch.manual_seed(0)
    critic = PatchCritic(8)
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(60):
        real = torch.randn(8, 3, 16, 16)
        fool, catch = critic_losses(critic, real, torch.nn.functional.avg_pool2d(real, 3, 1, 1))
        optimiser.zero_grad()
        catch.backward()
        optimiser.step()
    assert catch < 0.2 and fool > 0.5  # at first 2 and about 0


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_autoencoder_loss_trains(adversarial):
    torch.manual_seed(0)
    _, vae = both(CONFIGS["no attention, no outer convolutions"])
    model = torch.nn.ModuleDict({"vae": vae, "critic": PatchCritic(8)}) if adversarial else vae
    before = copy.deepcopy(model.state_dict())
    loss = autoencoder_loss(perceptual=0.1, adversarial=adversarial, features=FeatureNet.load())
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    x, generator = torch.rand(4, 3, 16, 16), torch.Generator().manual_seed(0)
    error = lambda: (vae(x) - x).abs().mean().item()  # noqa: E731
    first = error()
    for _ in range(40):
        value = loss(model, x, generator)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert error() < 0.5 * first
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert len(moved) == len(before)  # every weight, the critic's too


# --- tiles ----------------------------------------------------------------------------------------


@given(n=st.integers(1, 200), tile=st.integers(2, 64), overlap=st.integers(0, 63))
@settings(deadline=None)
def test_tiles_cover_and_overlap(n, tile, overlap):
    overlap = min(overlap, tile - 1)
    rows = [rows for rows, _ in tiles(n, 1, tile, overlap)]
    assert rows[0].start == 0 and rows[-1].stop == n
    assert all(r.stop - r.start == min(tile, n) for r in rows)
    assert all(a.stop - b.start >= overlap for a, b in zip(rows, rows[1:]))


def test_tiles_that_overlap_too_much():
    with pytest.raises(ValueError, match="less than a tile"):
        tiles(100, 100, 16, 16)


def test_a_picture_of_one_tile_is_not_changed():
    _, vae = both(CONFIGS["the course's"])
    x = torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        z = vae.encode(x).mode()
        torch.testing.assert_close(encode_tiled(vae, x, tile=16, overlap=4), z)
        torch.testing.assert_close(decode_tiled(vae, z, 16, 4), vae.decode(z))


class Pointwise(torch.nn.Module):
    """Stands for an autoencoder that makes each place from itself alone."""

    downscale, config = 2, {"latent_channels": 3, "out_channels": 3}

    def encode(self, x):
        mean = torch.nn.functional.avg_pool2d(x, 2)
        return DiagonalGaussian(torch.cat([mean, mean], dim=1))

    def decode(self, z):
        return z.repeat_interleave(2, 2).repeat_interleave(2, 3)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    tile=st.integers(2, 12),
    overlap=st.integers(0, 11),
)
@settings(max_examples=30, deadline=None)
def test_tiles_come_back_to_their_places(height, width, tile, overlap):
    z, overlap = torch.randn(2, 3, height, width), min(overlap, tile - 1)
    x = decode_tiled(Pointwise(), z, tile, overlap)
    torch.testing.assert_close(x, Pointwise().decode(z))
    torch.testing.assert_close(encode_tiled(Pointwise(), x, tile, overlap), z)


def seam(picture, places):
    """How much larger the steps across these columns are than all others, in mean."""
    steps = picture.diff(dim=3).abs().mean(dim=(0, 1, 2))
    there = torch.zeros_like(steps, dtype=torch.bool)
    there[[place - 1 for place in places]] = True
    return (steps[there].mean() / steps[~there].mean()).item()
