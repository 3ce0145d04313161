"""What exercises of chapter 01 share."""

import torch

from sdlearn.exercises.bank import Case
from sdlearn.schedule import NoiseSchedule, extract


def forward_cases():
    """(picture, t, schedule, noise): one with equal t, one with different t, one not square."""
    plan = NoiseSchedule.linear(100, 0.01, 0.2)
    x = torch.randn(2, 3, 4, 4)
    noise = torch.randn_like(x)
    for t, label in (([40, 40], "every picture has the same t"), ([0, 60], "t differs")):
        yield Case((x.clone(), torch.tensor(t), plan, noise.clone()), label)
    yield Case((x[..., :3].clone(), torch.tensor([5, 30]), plan, noise[..., :3].clone()),
               "pictures are not square")  # fmt: skip
    yield Case((torch.randn(3, 2), torch.tensor([0, 9, 60]), plan, torch.randn(3, 2)),
               "x is points [B, 2]")  # fmt: skip


def mix(signal, noise_share, table="alphas_cumprod"):
    """A wrong q_step or q_sample: two functions of the table's entry, for picture and noise."""

    def answer(x, t, plan, noise):
        value = extract(getattr(plan, table), t, x)
        return signal(value) * x + noise_share(value) * noise

    return answer


def for_pictures_only(table):
    """√(1-v) and √v, or the other way round, shaped for [B, C, H, W] whatever x is."""

    def answer(x, t, plan, noise):
        value = getattr(plan, table)[t].view(-1, 1, 1, 1)
        value = 1 - value if table == "betas" else value
        return value.sqrt() * x + (1 - value).sqrt() * noise

    return answer


POINTS = (
    "Right for pictures, but points [B, 2] come out as [B, 1, B, 2], and there will be points: "
    "use extract(table, t, x), which fits x of any shape."
)

HALVED = "a**1/2 is (a**1)/2, half of a. Write a**0.5 or a.sqrt() for the root."


def same(value):
    return value


def root(value):
    return value.sqrt()


def rest(value):
    return 1 - value


def root_of_rest(value):
    return (1 - value).sqrt()


def one(value):
    return torch.ones_like(value)
