"""Chapter 00's miniature against independent calculations; the published configurations."""

import json

import pytest
import torch

from sdlearn import ideal
from sdlearn.data import data_folder, load_emoji, to_tensor


@pytest.fixture(scope="module")
def emoji():
    return load_emoji(split="test_style", size=64)


@pytest.fixture(scope="module")
def pictures(emoji):
    return to_tensor(emoji)


@pytest.fixture(scope="module")
def miniature(emoji):
    return ideal.Miniature(emoji)


def toy(n=6, b=4):
    """A few known pictures and noised ones, in double precision."""
    generator = torch.Generator().manual_seed(0)
    x0s = torch.randn(n, 2, 3, 3, generator=generator, dtype=torch.float64)
    x_t = torch.randn(b, 2, 3, 3, generator=generator, dtype=torch.float64)
    return x0s, x_t, torch.randn(b, n, generator=generator, dtype=torch.float64)


# Words.


def test_words_in_every_caption_weigh_nothing_and_rare_ones_most():
    encoder = ideal.BagOfWords(["a cat", "a dog", "a cat and a dog", "a bear"])
    weights = {word: encoder.weights[i].item() for word, i in encoder.vocabulary.items()}
    assert weights["a"] == 0
    assert weights["bear"] == pytest.approx(torch.tensor(4.0).log().item())
    assert weights["cat"] == pytest.approx(torch.tensor(2.0).log().item())  # counted once a caption


def test_texts_are_unit_vectors_and_know_neither_order_nor_strangers():
    encoder = ideal.BagOfWords(["red cat", "blue dog", "red dog"])
    same, order, more, nothing = encoder(["red cat", "Cat, RED!", "red cat xyzzy", "xyzzy"])
    assert same.norm().item() == pytest.approx(1)
    assert torch.equal(same, order) and torch.equal(same, more)
    assert nothing.abs().sum() == 0


# Latents.


@pytest.mark.parametrize("patch, channels", [(4, 5), (8, 3), (4, 48)])
def test_latents_have_the_shape_that_latent_shape_says(pictures, patch, channels):
    autoencoder = ideal.PatchAutoencoder(pictures, patch, channels)
    z = autoencoder.encode(pictures[:2])
    shape, factor = ideal.latent_shape(64, 64, patch, channels)
    assert z.shape[1:] == shape
    assert factor == pytest.approx(pictures[0].numel() / z[0].numel())
    # The axes are orthonormal: latents survive the way through pixels and back.
    torch.testing.assert_close(autoencoder.encode(autoencoder.decode(z)), z, atol=1e-4, rtol=1e-4)


def test_all_channels_give_the_picture_back(pictures):
    autoencoder = ideal.PatchAutoencoder(pictures, 4, 48)
    back = autoencoder.decode(autoencoder.encode(pictures))
    torch.testing.assert_close(back, pictures, atol=1e-4, rtol=0)


def test_the_error_is_the_variance_of_the_dropped_directions(pictures):
    patches = pictures.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48)
    variances = torch.linalg.svdvals(patches.double() - patches.double().mean(dim=0)) ** 2
    autoencoder = ideal.PatchAutoencoder(pictures, 4, 5)
    error = (autoencoder.decode(autoencoder.encode(pictures)) - pictures).square().sum()
    assert error.item() == pytest.approx(variances[5:].sum().item(), rel=1e-3)


def test_the_scaling_factor_gives_latents_a_spread_of_one(miniature):
    assert miniature.latents.std().item() == pytest.approx(1, abs=0.1)  # fitted on ten pictures


# The ideal denoiser.


@pytest.mark.parametrize("alpha_bar", [0.05, 0.5, 0.9])
def test_weights_are_bayes_rule_worked_out_one_by_one(alpha_bar):
    x0s, x_t, prior = toy()
    weights = ideal.ideal_weights(x_t, alpha_bar, x0s, prior)
    for b in range(len(x_t)):
        noise = torch.distributions.Normal(0.0, (1 - alpha_bar) ** 0.5)
        likelihood = [noise.log_prob(x_t[b] - alpha_bar**0.5 * x0).sum().exp() for x0 in x0s]
        joint = torch.stack(likelihood) * prior[b].exp()
        torch.testing.assert_close(weights[b], joint / joint.sum())


@pytest.mark.parametrize("alpha_bar", [0.05, 0.5, 0.9])
def test_the_denoiser_agrees_with_tweedies_formula(alpha_bar):
    """E[x_0] = (x_t + (1-ᾱ) ∇log p(x_t))/√ᾱ, the gradient taken by autograd."""
    x0s, x_t, _ = toy()
    x_t.requires_grad_(True)
    mixture = torch.distributions.Normal(alpha_bar**0.5 * x0s, (1 - alpha_bar) ** 0.5)
    log_p = mixture.log_prob(x_t[:, None]).flatten(2).sum(dim=2).logsumexp(dim=1)
    (score,) = torch.autograd.grad(log_p.sum(), x_t)
    expected = (x_t + (1 - alpha_bar) * score) / alpha_bar**0.5
    torch.testing.assert_close(ideal.ideal_denoiser(x_t, alpha_bar, x0s), expected)


def test_guidance_0_ignores_the_prompt_and_1_takes_the_conditional_answer():
    u, c = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(ideal.guided(u, c, 0.0), u)
    torch.testing.assert_close(ideal.guided(u, c, 1.0), c)
    each = ideal.guided(u, c, torch.tensor([[0.0], [3.0]]))
    torch.testing.assert_close(each, torch.stack([u[0], 3 * c[1] - 2 * u[1]]))


# The loop.


def test_noise_levels_rise_between_0_and_1():
    levels = ideal.noise_levels(25)
    assert len(levels) == 25 and 0 < levels[0] < 0.005 and levels[-1] < 1
    assert all(a < b for a, b in zip(levels, levels[1:]))


def test_the_loop_ends_on_the_only_picture():
    x0s, x_t, _ = toy(n=1)
    drawn = ideal.from_noise(lambda x, a: x0s.expand_as(x), x_t, ideal.noise_levels(5))
    torch.testing.assert_close(drawn, x0s.expand_as(x_t))


def test_the_loop_leaves_gaussian_data_where_it_is():
    """For data from N(0, 1) the best guess is √ᾱ·x_t, and noise is a draw from it already."""
    x = torch.randn(5, 3, dtype=torch.float64)
    alpha_bars = [(i + 0.5) / 2000 for i in range(2000)]
    drawn = ideal.from_noise(lambda x_t, a: a**0.5 * x_t, x, alpha_bars)
    torch.testing.assert_close(drawn, x, rtol=2e-3, atol=0)  # error of 2,000 finite steps


# All together.


def test_the_two_halves_are_the_two_answers(miniature):
    texts, x = ["octopus", "pineapple"], torch.randn(2, 5, 16, 16)
    prior = 10 * miniature.text_encoder(texts) @ miniature.captions.T
    u = ideal.ideal_denoiser(x, 0.1, miniature.latents)
    c = ideal.ideal_denoiser(x, 0.1, miniature.latents, prior)
    got = miniature.denoiser(texts, 3.0)(x, 0.1)
    torch.testing.assert_close(got, u + 3 * (c - u), atol=1e-4, rtol=1e-4)


def test_a_prompt_draws_its_picture_and_only_copies(miniature):
    drawn = miniature(["pineapple", "carrot"])
    distance = torch.cdist(drawn.flatten(1), miniature.latents.flatten(1))
    named = [miniature.prompts[i] for i in distance.argmin(dim=1)]
    assert "pineapple" in named[0] and "carrot" in named[1]
    exact = miniature.latents[distance.argmin(dim=1)]
    torch.testing.assert_close(drawn, exact, atol=1e-3, rtol=0)
    assert miniature.decode(drawn).shape == (2, 3, 64, 64)


def test_a_seed_draws_the_same_again_and_another_seed_does_not(miniature):
    first, again, other = (miniature([""] * 8, steps=5, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# The published configurations.

PUBLISHED = {  # parameters; known from the checkpoints' own tensors
    "SD 1.5": [859_520_964, 83_653_863, 123_060_480],
    "SD 2.1": [865_910_724, 83_653_863, 340_387_840],
    "SDXL": [2_567_463_684, 83_653_863, 123_060_480, 694_659_840],
    "SD3 medium": [2_028_328_000, 83_819_683, 123_650_304, 694_659_840, 4_762_310_656],
}


def test_configurations_give_the_published_sizes():
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    found = {}
    for path in sorted(data_folder("configs").glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        found[model["name"]] = []
        for part in model["parts"]:
            name, config = part["class"], part["config"]
            with torch.device("meta"):
                if hasattr(diffusers, name):
                    built = getattr(diffusers, name).from_config(config)
                    unknown = set(config) - set(built.config)
                else:
                    kind = getattr(transformers, name)
                    built = kind(kind.config_class(**config))
                    unknown = set(config) - set(kind.config_class().to_dict())
            assert not unknown, f"{path.name}, {name}: no such setting: {unknown}"
            found[model["name"]].append(ideal.count_parameters(built))
    assert found == PUBLISHED
