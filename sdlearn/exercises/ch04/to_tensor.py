"""Chapter 04: the exercise `training.to_tensor`."""

import numpy as np
import torch
from PIL import Image

from sdlearn import data
from sdlearn.exercises.bank import Case, Exercise


def _pictures(count, width, height, low=0, high=255):
    """Random PIL pictures, the darkest and the brightest values included."""
    pixels = np.random.randint(low, high + 1, (count, height, width, 3), dtype=np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = low, high
    return [Image.fromarray(one) for one in pixels]


def _to_tensor_cases():
    yield Case((_pictures(2, 4, 4),), "there are two pictures of 4 × 4")
    yield Case((_pictures(3, 5, 3),), "pictures are wider than high")
    yield Case((_pictures(1, 4, 4),), "there is a single picture")
    yield Case((_pictures(2, 4, 4, 60, 200),), "pictures have neither black nor white")


def _bytes(pictures):
    return torch.from_numpy(np.stack([np.asarray(one) for one in pictures]))  # [N, H, W, 3]


def _scaled(change):
    """A wrong to_tensor: change(bytes as floats [N, 3, H, W]) in place of x / 127.5 - 1."""
    return lambda pictures: change(_bytes(pictures).permute(0, 3, 1, 2).float())


def _in_bytes(pictures):
    x = _bytes(pictures).permute(0, 3, 1, 2)
    return (x * 2 - 255).float() / 255


TO_TENSOR = Exercise(
    "training.to_tensor",
    reference=data.to_tensor,
    cases=_to_tensor_cases,
    changes=("dataset",),  # Pillow notes in a picture that it has been read
    hints=[
        "Four things: a numpy array of each picture, all in one tensor, colours to the second "
        "place, and bytes to [-1, 1].",
        "torch.from_numpy(np.stack([np.asarray(p) for p in pictures])) is [N, H, W, 3]; "
        ".permute(0, 3, 1, 2) moves the colours.",
        "Bytes 0 … 255 become .float() / 127.5 - 1.",
    ],
    mistakes={
        "These are still bytes, 0 to 255: divide by 127.5 and subtract 1.": _scaled(lambda x: x),
        "This is [0, 1]. The noise has mean 0, and so should the pictures: [-1, 1], "
        "that is x / 127.5 - 1.": _scaled(lambda x: x / 255),
        "This is [-0.5, 0.5]: from bytes to [-1, 1] it is x / 127.5 - 1.": _scaled(
            lambda x: x / 255 - 0.5
        ),
        "This stretches each picture or batch to its own darkest and brightest value. Byte 0 "
        "is -1 and byte 255 is 1, whatever a picture holds: x / 127.5 - 1.": _scaled(
            lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1
        ),
        "128 where 127.5 belongs: 255 should become exactly 1.": _scaled(lambda x: x / 128 - 1),
        "x / 127.5 is [0, 2]: subtract 1.": _scaled(lambda x: x / 127.5),
        "The sign: white, 255, should be 1 and black, 0, should be -1.": _scaled(
            lambda x: 1 - x / 127.5
        ),
        "This scales each batch by its own mean and spread. A picture must not depend on its "
        "neighbours, and the way back to bytes must be known: x / 127.5 - 1.": _scaled(
            lambda x: (x - x.mean()) / x.std()
        ),
        "The colours come last, [N, H, W, 3]; torch "
        "wants [N, 3, H, W]: .permute(0, 3, 1, 2).": lambda pictures: (
            _bytes(pictures).float() / 127.5 - 1
        ),
        "The shape is right, but view or reshape only renames the places, and pixels end up "
        "where they do not belong. Move the axis: .permute(0, 3, 1, 2).": lambda pictures: (
            _bytes(pictures).float().reshape(len(pictures), 3, *pictures[0].size[::-1]) / 127.5 - 1
        ),
        "Rows and columns are exchanged: .permute(0, "
        "3, 1, 2) keeps rows before columns.": lambda pictures: (
            data.to_tensor(pictures).transpose(2, 3).contiguous()
        ),
        "A byte cannot hold more than 255: calculating before .float() wraps around. First "
        ".float(), then the arithmetic.": _in_bytes,
        "Red and blue are exchanged: PIL's order is red, green, blue already.": lambda pictures: (
            data.to_tensor(pictures).flip(1)
        ),
        "This is float64: .float() gives "
        "the float32 that the network calculates in.": lambda pictures: data.to_tensor(
            pictures
        ).double(),
        "This is the first picture only: stack all of them, [N, 3, H, W].": lambda pictures: (
            data.to_tensor(pictures)[0]
        ),
        "This is a list of tensors: np.stack "
        "or torch.stack makes them one, [N, 3, H, W].": lambda pictures: list(
            data.to_tensor(pictures)
        ),
    },
)
