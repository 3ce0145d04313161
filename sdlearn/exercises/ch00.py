"""The exercises of chapter 00: the parts of a text-to-image model in miniature."""

import torch
from torch import nn

from sdlearn import ideal
from sdlearn.exercises.bank import Case, Exercise


def _shape_cases():
    yield Case((512, 512, 8, 4), "the picture is square")
    yield Case((64, 96, 4, 4), "the picture is wider than high")
    yield Case((1024, 768, 8, 16), "the picture is higher than wide")
    yield Case((64, 64, 4, 5), "the factor is not whole")


def _shape(shape=None, factor=None):
    """A wrong latent_shape: another shape or another factor, from (height, width, downscale, C)."""

    def answer(height, width, downscale, channels):
        right = ideal.latent_shape(height, width, downscale, channels)
        size = height, width, downscale, channels
        return shape(*size) if shape else right[0], factor(*size) if factor else right[1]

    return answer


LATENT_SHAPE = Exercise(
    "start.latent_shape",
    reference=ideal.latent_shape,
    cases=_shape_cases,
    returns=("shape", "factor"),
    hints=[
        "Height and width both shrink by downscale. The channels are what they are told to be.",
        "Count the numbers: a picture has 3 · height · width, the latents have the product of "
        "their shape. The factor is how many times fewer.",
        "shape = (channels, height // downscale, width // downscale); the factor is "
        "3 * height * width divided by the product of these three.",
    ],
    mistakes={
        "Height and width are swapped: PyTorch's order is channels, height, width.": _shape(
            shape=lambda h, w, d, c: (c, w // d, h // d)
        ),
        "The channels stand last: PyTorch's order is channels, height, width.": _shape(
            shape=lambda h, w, d, c: (h // d, w // d, c)
        ),
        "Only one of the sides is shrunk: downscale applies to height and to width.": _shape(
            shape=lambda h, w, d, c: (c, h // d, w)
        ),
        "The factor counts places only. A pixel holds 3 numbers and a latent place holds "
        "`channels`: count numbers.": _shape(factor=lambda h, w, d, c: float(d * d)),
        "The factor leaves out that each pixel holds 3 numbers, one for each colour.": _shape(
            factor=lambda h, w, d, c: d * d / c
        ),
        "The factor is cut off to a whole number: divide with / there, not with //.": _shape(
            factor=lambda h, w, d, c: 3 * h * w // (c * (h // d) * (w // d))
        ),
        "The factor is rounded. It need not be whole: leave it as it is.": _shape(
            factor=lambda h, w, d, c: float(round(3 * d * d / c))
        ),
        "The factor is upside down: it says how many times fewer numbers the latents are, so "
        "the picture's count is divided by theirs.": _shape(
            factor=lambda h, w, d, c: c / (3 * d * d)
        ),
    },
)


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


def _guided_cases():
    u, c = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    yield Case((u.clone(), c.clone(), 7.5), "guidance is 7.5")
    yield Case((u.clone(), c.clone(), 0.3), "guidance is below 1")
    each = torch.tensor([2.0, 5.0]).view(2, 1, 1, 1)
    yield Case((u.clone(), c.clone(), each), "each picture has its own guidance")


GUIDED = Exercise(
    "start.guided",
    reference=ideal.guided,
    cases=_guided_cases,
    hints=[
        "Start at one answer and walk along the arrow that leads to the other.",
        "With guidance 0 the result is the unconditional answer, with 1 the conditional one.",
        "The arrow is conditional - unconditional. Add guidance times it to the unconditional.",
    ],
    mistakes={
        "The arrow points the wrong way: it leads from the unconditional answer to the "
        "conditional one, conditional - unconditional.": lambda u, c, g: u + g * (u - c),
        "You start at the conditional answer, which is one arrow too far: with guidance 1 the "
        "result should be the conditional answer itself.": lambda u, c, g: c + g * (c - u),
        "The two answers are swapped: the larger the guidance, the more the prompt should "
        "count.": lambda u, c, g: c + g * (u - c),
        "The start is missing: the arrow is added to the unconditional answer.": lambda u, c, g: (
            g * (c - u)
        ),
        "The conditional answer itself is added, "
        "not its difference to the unconditional one.": lambda u, c, g: u + g * c,
        "The guidance multiplies the unconditional "
        "answer; it belongs to the arrow.": lambda u, c, g: g * u + (c - u),
        "Brackets are missing: the guidance multiplies the whole difference.": lambda u, c, g: (
            u + g * c - u
        ),
    },
)


class _Tied(nn.Module):
    """Two layers with one weight between them, as a text model's input and output words."""

    def __init__(self):
        super().__init__()
        self.read, self.write = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.write.weight = self.read.weight


def _model_cases():
    yield Case((nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)),), "two linear layers")
    yield Case((nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),), "a norm keeps statistics")
    frozen = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
    frozen[0].requires_grad_(False)
    yield Case((frozen,), "one layer is frozen")
    yield Case((_Tied(),), "two layers share a weight")


COUNT_PARAMETERS = Exercise(
    "start.count_parameters",
    reference=ideal.count_parameters,
    cases=_model_cases,
    hints=[
        "model.parameters() gives the tensors one after the other.",
        "tensor.numel() is how many numbers a tensor holds. Add them up.",
        "sum(parameter.numel() for parameter in model.parameters())",
    ],
    mistakes={
        "You counted the tensors; count the numbers in them, numel().": lambda model: len(
            list(model.parameters())
        ),
        "state_dict() holds buffers too, such as a norm's running means, and lists a shared "
        "tensor under each of its names: use parameters().": lambda model: sum(
            t.numel() for t in model.state_dict().values()
        ),
        "Frozen parameters are left out. They are part of the model all the same.": lambda model: (
            sum(p.numel() for p in model.parameters() if p.requires_grad)
        ),
        "A tensor that two layers share is counted "
        "twice: model.parameters() gives it once.": lambda model: sum(
            p.numel() for _, p in model.named_parameters(remove_duplicate=False)
        ),
        "The biases are left out: they are parameters too.": lambda model: sum(
            p.numel() for p in model.parameters() if p.dim() > 1
        ),
        "These are bytes (4 for each float32 number): count the numbers.": lambda model: sum(
            p.numel() * p.element_size() for p in model.parameters()
        ),
    },
)

EXERCISES = [LATENT_SHAPE, IDEAL_WEIGHTS, GUIDED, COUNT_PARAMETERS]
