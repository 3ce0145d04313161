"""Stable Diffusion in miniature, with no neural network in it (chapter 00 builds this module).

Three jobs, each done by the simplest thing that does it: words counted, patches squeezed by a
principal component analysis, noise removed by comparing with every picture that is known.
"""

import re

import torch
import torch.nn.functional as F

from sdlearn.data import to_tensor
from sdlearn.samplers import timesteps
from sdlearn.schedule import NoiseSchedule


class BagOfWords:
    """The text encoder's job: a caption becomes a vector with a number for each known word."""

    def __init__(self, captions):
        bags = [set(self.words(caption)) for caption in captions]
        self.vocabulary = {word: i for i, word in enumerate(sorted(set().union(*bags)))}
        seen = torch.zeros(len(self.vocabulary))
        for bag in bags:
            seen[[self.vocabulary[word] for word in bag]] += 1
        # A word that stands in every caption says nothing: its weight is log 1 = 0.
        self.weights = (len(bags) / seen).log()

    @staticmethod
    def words(text):
        """The words of a text, in lower case."""
        return re.findall(r"[\w']+", text.lower())

    def __call__(self, texts):
        """List of B texts → [B, words], each of length 1; unknown words are passed over."""
        counts = torch.zeros(len(texts), len(self.vocabulary))
        for row, text in zip(counts, texts):
            for word in self.words(text):
                if word in self.vocabulary:
                    row[self.vocabulary[word]] += 1
        return F.normalize(counts * self.weights, dim=1)


class PatchAutoencoder:
    """The autoencoder's job: pixels → latents → pixels, by the main components of small patches.

    pictures: [N, 3, H, W] in [-1, 1] to learn from. `scaling_factor` gives latents a spread of 1.
    """

    def __init__(self, pictures, patch=4, channels=5):
        self.downscale = patch
        patches = F.unfold(pictures, patch, stride=patch)  # [N, 3·patch², patches]
        patches = patches.transpose(1, 2).flatten(0, 1)  # [N·patches, 3·patch²]
        mean = patches.mean(dim=0)
        _, axes = torch.linalg.eigh((patches - mean).T.cov())  # the smallest variance first
        axes = axes.flip(1)[:, :channels].T  # [channels, 3·patch²]
        axes = torch.where(axes[:, :1] < 0, -axes, axes)  # eigh may give either direction
        self.kernel = axes.view(channels, 3, patch, patch)
        self.mean = mean.view(1, 3, patch, patch)
        self.scaling_factor = 1 / float(self.encode(pictures).std())

    def encode(self, x):
        """[B, 3, H, W] → latents [B, channels, H/patch, W/patch]."""
        bias = -(self.kernel * self.mean).sum(dim=(1, 2, 3))
        return F.conv2d(x, self.kernel, bias, stride=self.downscale)

    def decode(self, z):
        """Latents → [B, 3, H, W]."""
        height, width = z.shape[-2:]
        return self.mean.repeat(1, 1, height, width) + F.conv_transpose2d(
            z, self.kernel, stride=self.downscale
        )


def latent_shape(height, width, downscale=8, channels=4):
    """Shape (C, H, W) of a picture's latents, and how many times fewer numbers they are.

    height, width: in pixels. downscale: pixels along each side of a latent. Returns a tuple of
    three ints, and a float.
    """
    shape = channels, height // downscale, width // downscale
    return shape, 3 * height * width / (shape[0] * shape[1] * shape[2])


def ideal_weights(x_t, alpha_bar, x0s, log_prior=0.0):
    """How likely each of the pictures x0s is to be the one under the noise of x_t: [B, N].

    x_t: [B, C, H, W], noised. x0s: [N, C, H, W], the known pictures. alpha_bar: how much of the
    picture's variance is left in x_t, in (0, 1), a float. log_prior: what is known beforehand,
    [N] or [B, N] or a number, up to a constant. Each row adds up to 1.
    """
    centres = alpha_bar**0.5 * x0s.flatten(1)
    distance = torch.cdist(x_t.flatten(1), centres)
    return (log_prior - distance**2 / (2 * (1 - alpha_bar))).softmax(dim=1)


def ideal_denoiser(x_t, alpha_bar, x0s, log_prior=0.0):
    """The denoiser's job, done perfectly: the mean of the pictures that x_t may be, like x_t."""
    weights = ideal_weights(x_t, alpha_bar, x0s, log_prior)
    return (weights @ x0s.flatten(1)).view_as(x_t)


def guided(unconditional, conditional, guidance):
    """Classifier-free guidance (Ho & Salimans 2022): from one answer past the other."""
    return unconditional + guidance * (conditional - unconditional)


def from_noise(denoise, x, alpha_bars, callback=None):
    """Noise x [B, ...] → pictures: guess the clean picture, put a little less noise back (DDIM).

    denoise: called as denoise(x_t, alpha_bar), gives its guess at x_0. alpha_bars: rising floats
    in (0, 1). callback: called in every step as callback(x_t, x0).
    """
    for alpha_bar, following in zip(alpha_bars, [*alpha_bars[1:], 1.0]):
        x0 = denoise(x, alpha_bar)
        noise = (x - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5
        if callback is not None:
            callback(x, x0)
        x = following**0.5 * x0 + (1 - following) ** 0.5 * noise
    return x


def noise_levels(steps=25):
    """ᾱ at `steps` timesteps of Stable Diffusion's schedule, the noisiest first: floats."""
    schedule = NoiseSchedule.scaled_linear()
    return schedule.alphas_cumprod[timesteps(schedule, steps, "trailing")].tolist()


def count_parameters(model):
    """How many numbers a torch.nn.Module has learnt (its parameters, not its buffers)."""
    return sum(parameter.numel() for parameter in model.parameters())


class Miniature:
    """All of it together, prompts → latents → pictures.

    dataset: captioned pictures as `data.load_emoji` gives them. focus: how much the prompt counts;
    a picture with just this caption is e^focus times as likely as one without a common word.
    """

    def __init__(self, dataset, focus=10.0):
        self.prompts, self.focus = list(dataset["prompt"]), focus
        pictures = to_tensor(dataset)
        self.text_encoder = BagOfWords(self.prompts)
        self.captions = self.text_encoder(self.prompts)  # [N, words]
        self.autoencoder = PatchAutoencoder(pictures[::16])  # as good as all, and faster
        self.latents = self.autoencoder.encode(pictures) * self.autoencoder.scaling_factor

    def denoiser(self, prompts, guidance):
        """A function (x_t, alpha_bar) → guess at x_0 that follows the prompts, one a picture."""
        log_prior = self.focus * self.text_encoder(prompts) @ self.captions.T  # [B, N]
        log_prior = torch.cat([torch.zeros_like(log_prior), log_prior])

        def denoise(x_t, alpha_bar):  # both answers in one call: half the time
            both = ideal_denoiser(torch.cat([x_t, x_t]), alpha_bar, self.latents, log_prior)
            return guided(*both.chunk(2), guidance)

        return denoise

    def decode(self, latents):
        """Latents [B, 5, 16, 16] of spread 1 → pictures [B, 3, 64, 64]."""
        return self.autoencoder.decode(latents / self.autoencoder.scaling_factor)

    def __call__(self, prompts, guidance=7.5, steps=25, seed=0, callback=None):
        """A list of B prompts → latents [B, 5, 16, 16], for `decode`.

        guidance: a number, or a tensor [B, 1, 1, 1] with one for each picture.
        """
        shape = (len(prompts), *self.latents.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return from_noise(self.denoiser(prompts, guidance), noise, noise_levels(steps), callback)
