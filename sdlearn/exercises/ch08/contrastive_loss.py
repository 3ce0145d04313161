"""Chapter 08: the exercise `text.contrastive_loss`."""

import math

import torch
import torch.nn.functional as F

from sdlearn import clip
from sdlearn.exercises.bank import Case, Exercise


def _loss_cases():
    # In three cases one input wants a gradient, so that a lost one is noticed.
    for scale, label in ((2.66, "four pairs, s = 14.3"), (0.5, "four pairs, s = 1.65")):
        text, image = torch.randn(4, 6), 3 * torch.randn(4, 6)
        image[:3] += 2 * text[:3]
        yield Case((text, image, torch.tensor(scale, requires_grad=scale < 1)), label)
    text, image = torch.randn(5, 3, requires_grad=True), 0.1 * torch.randn(5, 3)
    yield Case((text, image, torch.tensor(0.0)), "five pairs, s = 1")
    text, image = torch.randn(2, 4), torch.randn(2, 4, requires_grad=True)
    yield Case((text, image, torch.tensor(1.0)), "two pairs")
    yield Case((torch.ones(3, 4), torch.ones(3, 4), torch.tensor(2.0)), "all vectors alike")
    text, image = torch.randn(4, 6), torch.randn(4, 6)
    image[:3] += 2 * text[:3]
    yield Case((text, image, torch.tensor(100.0).log()), "four pairs, s = 100, as CLIP allows")


def _loss(sides=(0.5, 0.5), scale=torch.exp, ready=None, answers=torch.arange, of="mean"):
    """A wrong contrastive loss, by the part that is wrong."""
    ready = ready or (lambda x: F.normalize(x, dim=1))

    def answer(text, image, logit_scale):
        logits = ready(text) @ ready(image).T * scale(torch.as_tensor(logit_scale))
        right = answers(len(text))
        one, two = (F.cross_entropy(side, right, reduction=of) for side in (logits, logits.T))
        return sides[0] * one + sides[1] * two

    return answer


def _one_normalised(which):
    def answer(text, image, logit_scale):
        text, image = (
            F.normalize(x, dim=1) if k == which else x for k, x in enumerate((text, image))
        )
        logits = text @ image.T * logit_scale.exp()
        right = torch.arange(len(text))
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2

    return answer


def _softmax_twice(text, image, logit_scale):
    logits = clip.similarity(text, image) * logit_scale.exp()
    right = torch.arange(len(text))
    sides = (F.cross_entropy(x.softmax(1), right) for x in (logits, logits.T))
    return sum(sides) / 2


def _yes_or_no(text, image, logit_scale):
    logits = clip.similarity(text, image) * logit_scale.exp()
    return F.binary_cross_entropy_with_logits(logits, torch.eye(len(text)))


def _distance(text, image, logit_scale):
    return (1 - F.cosine_similarity(text, image)).mean()


def _shares(share):
    """A wrong contrastive loss: share(logits [B, B]) is what each direction gives."""

    def answer(text, image, logit_scale):
        logits = clip.similarity(text, image) * logit_scale.exp()
        return (share(logits) + share(logits.T)) / 2

    return answer


def _without_the_right_one(logits):
    others = logits.masked_fill(torch.eye(len(logits)).bool(), -math.inf)
    return (others.logsumexp(1) - logits.diag()).mean()


def _by_channel(text, image, logit_scale):
    """The transpose is at the wrong place: D × D in place of B × B."""
    logits = F.normalize(text, dim=1).T @ F.normalize(image, dim=1) * logit_scale.exp()
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


CONTRASTIVE = Exercise(
    "text.contrastive_loss",
    reference=clip.contrastive_loss,
    cases=_loss_cases,
    hints=[
        "First the square of cosines, [B, B]: both sides to length 1, then a product with a "
        "transpose. Times s, which is not logit_scale itself.",
        "logits = F.normalize(text, dim=1) @ F.normalize(image, dim=1).T * logit_scale.exp(). The "
        "right answer to row i is i: torch.arange(len(text)).",
        "The rows' cross-entropy is F.cross_entropy(logits, answers); the columns' are that of "
        "logits.T. Return half of their sum.",
    ],
    advice={
        r"tensor a \(6\) must match the size of tensor b \(4\)": "A length for each vector has the "
        "shape [B]; to divide by it, [B, 1]: norm(dim=1, keepdim=True), or F.normalize.",
        "floating point type for target": "cross_entropy wants the scores of all pictures for each "
        "text, [B, B]: text @ image.T; cosine_similarity compares row i with row i alone.",
    },
    mistakes={
        "Only texts look for pictures; the reverse question, on logits.T, is missing.": _loss(
            (1.0, 0.0)
        ),
        "Only pictures look for texts; the other question, on logits, is missing.": _loss(
            (0.0, 1.0)
        ),
        "The two are added; their mean is wanted.": _loss((1.0, 1.0)),
        "The second is taken off; it is added.": _loss((0.5, -0.5)),
        "The vectors are not brought to length 1: long ones win, whatever they say.": _loss(
            ready=lambda x: x
        ),
        "The lengths are brought to 1 over the batch; each vector has its own: dim=1.": _loss(
            ready=lambda x: F.normalize(x, dim=0)
        ),
        "Each batch is divided by one length for all of it; each vector has its own: "
        "F.normalize(x, dim=1).": _loss(ready=lambda x: x / x.norm()),
        "Each pair is asked about by itself, yes or no; here each row is one question with as many "
        "answers as there are pictures: F.cross_entropy.": _yes_or_no,
        "Only the texts are brought to length 1, the pictures are not.": _one_normalised(0),
        "Only the pictures are brought to length 1, the texts are not.": _one_normalised(1),
        "The scale is not used.": _loss(scale=lambda s: 1.0),
        "logit_scale is the logarithm of s: multiply by its .exp().": _loss(scale=lambda s: s),
        "The logits are divided by s; they are multiplied.": _loss(scale=lambda s: (-s).exp()),
        "That is the softmax of a softmax: cross_entropy takes the logits and does its own.": (
            _softmax_twice
        ),
        "Every row's right answer is 0 in yours; that of row i is i.": _loss(
            answers=lambda n: torch.zeros(n, dtype=torch.long)
        ),
        "The answers are in the wrong order: that of row i is i.": _loss(
            answers=lambda n: torch.arange(n).flip(0)
        ),
        "Summed over the batch; the mean is wanted.": _loss(of="sum"),
        "Every row's right answer is 1 in yours, which is the second picture; that of row i is "
        "i.": _loss(answers=lambda n: torch.ones(n, dtype=torch.long)),
        "s is fixed at 14.3; it is learnt, and comes as its logarithm, logit_scale.": _loss(
            scale=lambda s: 14.3
        ),
        "s is fixed at 1/0.07; it is learnt, and comes as its logarithm, logit_scale.": _loss(
            scale=lambda s: 1 / 0.07
        ),
        "logit_scale is divided by: it is the logarithm of s, and s multiplies.": _loss(
            scale=lambda s: 1 / s
        ),
        "The numbers are right, but no gradient reaches text or image, so nothing would be learnt: "
        "leave out .detach() and no_grad().": lambda text, image, logit_scale: (
            clip.contrastive_loss(text.detach(), image.detach(), logit_scale)
        ),
        "The numbers are right, but no gradient reaches logit_scale, so s is never learnt: "
        "math.exp, .item() and float() cut it off. Use logit_scale.exp().": _loss(
            scale=lambda s: math.exp(s.item())
        ),
        "exp of the logits overflows at s = 100, and the answer is NaN: cross_entropy and "
        "log_softmax take the largest off first.": _shares(
            lambda logits: -(logits.exp().diag() / logits.exp().sum(dim=1)).log().mean()
        ),
        "The sign is turned: training would push the true pairs apart.": _loss((-0.5, -0.5)),
        "The right answers' share is averaged without a logarithm: cross_entropy has it.": _shares(
            lambda logits: -logits.softmax(1).diag().mean()
        ),
        "nll_loss expects the logarithm of the softmax and got the logits: F.cross_entropy does "
        "both steps.": _shares(lambda logits: -logits.diag().mean()),
        "The mean goes over all of the square; only the right answers, the diagonal, count.": (
            _shares(lambda logits: -logits.log_softmax(1).mean())
        ),
        "The right answer is missing below the line: the softmax's sum goes over all j, i "
        "included.": _shares(_without_the_right_one),
        "The transpose is on the wrong side: that gives a square of D × D, channels with channels. "
        "Texts with pictures is text @ image.T, B × B.": _by_channel,
        "The square is compared with a table of 1 and 0 by squared differences; cross_entropy asks "
        "which is the largest.": _shares(lambda logits: F.mse_loss(logits, torch.eye(len(logits)))),
        "That is the distance within the pairs. The other pictures of the batch have to come in, "
        "as wrong answers: the softmax.": lambda text, image, logit_scale: F.mse_loss(
            F.normalize(text, dim=1), F.normalize(image, dim=1)
        ),
        "That only pulls the pairs together. The others have to be pushed away: the softmax over "
        "all of the batch.": _distance,
    },
)
