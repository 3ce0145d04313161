"""Chapter 00: the exercise `start.ideal_weights`."""

import torch

from sdlearn import ideal
from sdlearn.exercises.bank import Case, Exercise


def _weights_cases():
    """Few numbers, so that no weight is nearly 0 or 1 and every mistake can be seen."""
    x0s, x_t = torch.randn(5, 2, 2, 2), torch.randn(3, 2, 2, 2)
    yield Case((x_t.clone(), 0.36, x0s.clone(), 0.0), "much noise")
    yield Case((0.9 * x_t, 0.8, x0s.clone(), 0.0), "less noise")
    yield Case((x_t.clone(), 0.2, x0s.clone(), torch.randn(3, 5)), "a prior is given")
    x0s, x_t = torch.randn(4, 5, 16, 16), torch.randn(2, 5, 16, 16)
    yield Case((x_t, 0.36, x0s, 0.0), "the pictures are as large as our latents")


def _weights(scale=None, score=None, prior=1.0, dim=1):
    """A wrong ideal_weights: another scale of x0s, score of (distance, ᾱ), prior or softmax."""
    scale = scale or (lambda alpha_bar: alpha_bar**0.5)
    score = score or (lambda distance, alpha_bar: -(distance**2) / (2 * (1 - alpha_bar)))

    def answer(x_t, alpha_bar, x0s, log_prior=0.0):
        distance = torch.cdist(x_t.flatten(1), scale(alpha_bar) * x0s.flatten(1))
        return (prior * log_prior + score(distance, alpha_bar)).softmax(dim=dim)

    return answer


def _prior_added_last(x_t, alpha_bar, x0s, log_prior=0.0):
    return ideal.ideal_weights(x_t, alpha_bar, x0s) + log_prior


def _no_softmax(x_t, alpha_bar, x0s, log_prior=0.0):
    distance = torch.cdist(x_t.flatten(1), alpha_bar**0.5 * x0s.flatten(1))
    return (log_prior - distance**2 / (2 * (1 - alpha_bar))).exp()


def _by_hand(x_t, alpha_bar, x0s, log_prior=0.0):
    weights = _no_softmax(x_t, alpha_bar, x0s, log_prior)
    return weights / weights.sum(dim=1, keepdim=True)


def _no_exponential(x_t, alpha_bar, x0s, log_prior=0.0):
    distance = torch.cdist(x_t.flatten(1), alpha_bar**0.5 * x0s.flatten(1))
    return log_prior - distance**2 / (2 * (1 - alpha_bar))


def _mean_square(x_t, alpha_bar, x0s, log_prior=0.0):
    distance = torch.cdist(x_t.flatten(1), alpha_bar**0.5 * x0s.flatten(1))
    mean = distance**2 / x_t[0].numel()
    return (log_prior - mean / (2 * (1 - alpha_bar))).softmax(dim=1)


IDEAL_WEIGHTS = Exercise(
    "start.ideal_weights",
    reference=ideal.ideal_weights,
    cases=_weights_cases,
    hints=[
        "Three steps: the distance of each x_t to each √ᾱ·x0, a score, a softmax over the known "
        "pictures. Flatten the pictures first: x.flatten(1).",
        "torch.cdist(a, b) gives all distances between the rows of a [B, D] and b [N, D]: [B, N]. "
        "The score is -distance²/(2(1-ᾱ)), plus the log_prior.",
        "centres = alpha_bar**0.5 * x0s.flatten(1), then cdist, then "
        "(log_prior - distance**2 / (2 * (1 - alpha_bar))).softmax(dim=1).",
    ],
    mistakes={
        "The sign is wrong: far pictures get the largest weight. The score is minus the "
        "squared distance.": _weights(score=lambda d, a: d**2 / (2 * (1 - a))),
        "x0 is not faded: a picture lies under "
        "the noise as √ᾱ·x0, so measure from there.": _weights(scale=lambda a: 1.0),
        "x0 is faded by ᾱ; it should be √ᾱ: ᾱ is a share of the variance.": _weights(
            scale=lambda a: a
        ),
        "The 2 is missing: a Gaussian's exponent is -distance²/(2·variance).": _weights(
            score=lambda d, a: -(d**2) / (1 - a)
        ),
        "Brackets are missing: / 2 * (1 - alpha_bar) divides by 2 and then multiplies. Write "
        "/ (2 * (1 - alpha_bar)).": _weights(score=lambda d, a: -(d**2) / 2 * (1 - a)),
        "The distance is not squared: a Gaussian's exponent is -distance²/(2·variance).": _weights(
            score=lambda d, a: -d / (2 * (1 - a))
        ),
        "The squared distance is divided by 2√(1-ᾱ): that is the noise's standard deviation. "
        "Its variance, 1-ᾱ, belongs there.": _weights(
            score=lambda d, a: -(d**2) / (2 * (1 - a) ** 0.5)
        ),
        "The noise's variance is missing: divide the squared distance by 2(1-ᾱ), or the noise "
        "level makes no difference.": _weights(score=lambda d, a: -(d**2) / 2),
        "The softmax runs over the wrong axis: the weights of all known pictures (dim=1) must "
        "add up to 1 for each x_t.": _weights(dim=0),
        "The log_prior is left out: it is added to the score.": _weights(prior=0.0),
        "The log_prior is added after the softmax. It is a logarithm, as the score is: add it "
        "before.": _prior_added_last,
        "This is the mean picture. Asked for "
        "are the weights, [B, N]; the mean comes next.": ideal.ideal_denoiser,
        "The weights do not add up to 1: exp alone is not enough, take a softmax.": _no_softmax,
        "With pictures of real size every exp() is 0, and 0/0 is NaN: use .softmax(dim=1), "
        "which guards against that.": _by_hand,
        "These are the scores: the softmax over dim=1 is missing.": _no_exponential,
        "The squared differences are averaged over the pixels; the squared distance is their "
        "sum.": _mean_square,
    },
)
