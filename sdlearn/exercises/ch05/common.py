"""What exercises of chapter 05 share."""

import torch

from sdlearn.exercises.bank import Case

LEVELS = [(6.0, 2.5), (2.5, 1.5), (1.5, 0.4), (0.4, 0.0)]


def denoise(y, i):
    """A stand-in for a network's guess: smooth, different in each step."""
    return torch.tanh(y * (0.3 + 0.2 * i)) + 0.1 * i


def sampler_cases():
    yield Case((denoise, 6 * torch.randn(3, 2), list(LEVELS), None),
               "four steps down to σ = 0, with points [B, 2]")  # fmt: skip
    yield Case((denoise, 6 * torch.randn(2, 3, 4, 4), LEVELS[:3], None),
               "three steps that end before σ = 0, with pictures")  # fmt: skip
    yield Case((denoise, 3 * torch.randn(3, 2), [(3.0, 1.0)], None), "there is one step")
    yield Case((denoise, 4 * torch.randn(1, 2).double(), LEVELS[1:3], torch.Generator()),
               "two steps, with one point in double precision")  # fmt: skip


def counted(guess, limit):
    """`guess` that refuses to be asked twice in a step: calls are what a sampler costs."""
    asked = []

    def denoise(y, i, **trial):
        if isinstance(i, float):
            raise RuntimeError(f"denoise is told {i:g}: it takes the step's number, i, not its σ")
        if any(y is one and i is step for one, step in asked):
            raise RuntimeError("denoise is asked more than once a step: keep its answer, as x0")
        if len(asked) == limit:
            more = "denoise is asked more often than there are steps: ask once a step"
            raise RuntimeError(f"{more}, denoise(y, i), and keep the answer, as x0")
        asked.append((y, i))
        return guess(y, i)

    return denoise


def run_sampler(answer, denoise, y, levels, generator):
    sources = [source for source in (torch.default_generator, generator) if source]
    before = [source.get_state() for source in sources]
    value = answer(counted(denoise, len(levels)), y, levels, generator)
    if not all(torch.equal(old, source.get_state()) for old, source in zip(before, sources)):
        less = "the noise that is in y already is made smaller"
        raise RuntimeError(f"it draws fresh noise. This sampler draws none: {less}")
    return value


def one_step(sampler):
    return lambda denoise, y, levels, generator=None: sampler(denoise, y, levels[:1])


def unmoved(denoise, y, levels, generator=None):
    return y
