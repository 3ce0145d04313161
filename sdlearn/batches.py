"""Which pictures a training step sees, and which random numbers it draws (for `train`).

Both follow from the seed and the step alone. Whoever begins in the middle gets the same.
"""

import contextlib
import functools
import random

import numpy as np
import torch


def seeds(*numbers):
    """Two seeds that depend on all these numbers, and look as if they did not."""
    return np.random.SeedSequence(numbers).generate_state(2).tolist()


def seed_all(device, *numbers):
    """Seed the random numbers of Python, numpy and torch. Returns a generator apart from them."""
    shared, own = seeds(*numbers)
    random.seed(shared)
    np.random.seed(shared)
    torch.manual_seed(shared)
    return torch.Generator(device).manual_seed(own)


@functools.lru_cache(maxsize=2)
def shuffled(count, seed, epoch):
    """The numbers 0 … count - 1 in the order in which this epoch shows them."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seeds(seed, 0, epoch)[0]))


def batch_at(count, batch_size, seed, step):
    """Which of `count` pictures are in the batch of this step: [batch_size].

    Epoch follows epoch without a gap: each shows every picture once.
    """
    place, found = step * batch_size, []
    while len(found) < batch_size:
        epoch, start = divmod(place + len(found), count)
        found += shuffled(count, seed, epoch)[start : start + batch_size - len(found)].tolist()
    return torch.tensor(found)


def take(data, index):
    """The items `index` of a tensor, a tuple of tensors, or anything that data[i] works with."""
    if isinstance(data, torch.Tensor):
        return data[index]
    if isinstance(data, tuple):
        return tuple(part[index] for part in data)
    return torch.utils.data.default_collate([data[i] for i in index.tolist()])


def move(batch, device):
    """A batch on the device: a tensor, or a tuple, list or dict of such."""
    if isinstance(batch, dict):
        return {name: move(part, device) for name, part in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(move(part, device) for part in batch)
    return batch.to(device) if isinstance(batch, torch.Tensor) else batch


@contextlib.contextmanager
def borrowed_randomness(device):
    """Afterwards the random numbers go on as if none had been drawn in between."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
