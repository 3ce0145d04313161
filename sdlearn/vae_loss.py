"""What an autoencoder is trained with: distances between pictures, KL, a critic (chapter 07).

Pictures are [B, 3, H, W] in [-1, 1]. Source: Rombach et al. 2022, section 3.1; Esser et al. 2021.
"""

import torch.nn.functional as F
from torch import nn
from torch.func import functional_call


def gradient_loss(a, b):
    """How far apart the differences between neighbouring pixels are: edges, wherever they are."""
    error = a - b
    across, down = error.diff(dim=3), error.diff(dim=2)
    return across.abs().mean() + down.abs().mean()


def colour_loss(a, b, side=4):
    """How far apart the mean colours of small squares are: colour without any detail.

    Without it the few channels of the latents may go to edges, and green things turn brown.
    """
    return (F.avg_pool2d(a, side) - F.avg_pool2d(b, side)).abs().mean()


def perceptual_loss(features, a, b, layers=3):
    """How differently the first layers of a `metrics.FeatureNet` see two pictures.

    At every place the channels are first brought to length 1, so that each layer counts alike
    (Zhang et al. 2018).
    """
    loss = 0.0
    for conv in features.convs[:layers]:
        a, b = F.silu(conv(a)), F.silu(conv(b))  # [B, 3, H, W] → [B, C, H/2, W/2] …
        loss = loss + (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(dim=1).mean()
    return loss


class PatchCritic(nn.Module):
    """Says of each patch of a picture how real it looks: [B, 3, H, W] → [B, 1, H/4, W/4].

    Each answer sees 18 × 18 pixels (and, through the norm, how strong all are): sharpness and
    texture, not what the picture shows.
    Source: Isola et al. 2017, section 3.2.2.
    """

    def __init__(self, channels=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 1, 3, padding=1),
        )

    def forward(self, x):
        return self.layers(x)


def critic_losses(critic, real, fake):
    """What the autoencoder is to make small, and what the critic is (hinge losses): two numbers.

    For the autoencoder the critic's weights are constants; for the critic, the picture is one. So
    one backward pass of their sum trains both.
    """
    frozen = {name: x.detach() for name, x in critic.state_dict().items()}
    fool = -functional_call(critic, frozen, (fake,)).mean()
    catch = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()
    return fool, catch


def autoencoder_loss(
    l1=1.0, gradient=0.5, kl=1e-4, colour=0.0, perceptual=0.0, adversarial=0.0, features=None
):
    """The loss of autoencoders for `train.train`: batches are pictures; each term by its weight.

    kl: weight of the KL in nats per number of the latents. features: the `FeatureNet` of the
    perceptual term. The model is an `AutoencoderKL`; with adversarial > 0 an `nn.ModuleDict` of
    "vae" and "critic".
    """

    def loss(model, x, generator):
        vae = model["vae"] if adversarial else model
        latents = vae.encode(x)
        y = vae.decode(latents.sample(generator))
        total = l1 * F.l1_loss(y, x) + kl * latents.kl().sum() / latents.mean.numel()
        if gradient:
            total = total + gradient * gradient_loss(y, x)
        if colour:
            total = total + colour * colour_loss(y, x)
        if perceptual:
            total = total + perceptual * perceptual_loss(features, y, x)
        if adversarial:
            fool, catch = critic_losses(model["critic"], x, y)
            total = total + adversarial * fool + catch
        return total

    return loss
