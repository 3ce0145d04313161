"""Chapter 03: the exercise `unet.up_path`."""

import torch
from torch import nn

from sdlearn import unet
from sdlearn.exercises.bank import Case, Exercise


def _paths():
    common = {"norm_num_groups": 4, "attention_head_dim": 4}
    for sizes, depth, label in (
        ([8, 16, 24], 1, "there is one block a level"),
        ([8, 16, 24], 2, "there are two blocks a level"),
        ([8, 12, 12, 16], [1, 2, 1, 3], "each level has a number of blocks of its own"),
        ([16], 2, "there is one level only"),
    ):
        config = {
            **common,
            "block_out_channels": sizes,
            "layers_per_block": depth,
            "down_block_types": ["DownBlock2D"] * len(sizes),
            "up_block_types": ["UpBlock2D"] * len(sizes),
        }
        parts = unet.Parts(unet.complete(config))
        with torch.device("meta"):
            skips = unet.down_path(parts)[1]
        yield Case((parts, list(skips)), label)


def _channels(answer, parts, skips):
    """What the convolutions of each block on the way up take, and how many stages are left."""
    with torch.device("meta"):
        blocks = answer(parts, skips)
    found = [[resnet.conv1.in_channels for resnet in block.resnets] for block in blocks]
    return found, len(skips)


def _take(choose):
    """A wrong up_path: choose(skips, n, size) gives the channels that a level takes."""

    def answer(parts, skips):
        sizes = parts.config["block_out_channels"]
        blocks, before = nn.ModuleList(), sizes[-1]
        for level in reversed(range(len(sizes))):
            n = parts.at("layers_per_block", level)
            taken = choose(skips, n, sizes[level])
            block = unet.UpBlock(parts, level, before, sizes[level], taken, larger=level > 0)
            blocks.append(block)
            before = sizes[level]
        return blocks

    return answer


def _last_first(skips, n, size):
    return [skips.pop() for _ in range(n)]


def _from_the_front(skips, n, size):
    return [skips.pop(0) for _ in range(n + 1)]


def _in_order_of_the_way_down(skips, n, size):
    return [skips.pop() for _ in range(n + 1)][::-1]


def _not_taken(skips, n, size):
    return skips[::-1][: n + 1]


def _own_size(skips, n, size):
    return [size for _ in [skips.pop() for _ in range(n + 1)]]


def _of_the_first_level(parts, skips):
    first = unet.Parts({**parts.config, "layers_per_block": parts.at("layers_per_block", 0)})
    return _take(lambda skips, n, size: [skips.pop() for _ in range(n + 1)])(first, skips)


UP_PATH = Exercise(
    "unet.up_path",
    reference=unet.up_path,
    cases=_paths,
    run=_channels,
    returns=("channels", "stages left over"),
    changes=("skips",),
    hints=[
        "The list is a stack: the last stage of the way down is the first that is wanted.",
        "A level of n residual blocks on the way down has n + 1 on the way up, and each takes one.",
        "n is parts.at('layers_per_block', level). skips.pop() gives the last one and removes it.",
        "[skips.pop() for _ in range(parts.at('layers_per_block', level) + 1)]",
    ],
    mistakes={
        "One stage too few: the way up has one residual block more in each level than the way "
        "down, so that every stage, those after downsampling "
        "and conv_in's too, finds a taker.": _take(_last_first),
        "The stages are taken from the front; the way up begins where the way down ended: the "
        "last comes first, .pop().": _take(_from_the_front),
        "A level's stages are in the order of the way down; the last one comes first.": _take(
            _in_order_of_the_way_down
        ),
        "The stages stay in the list, so that every level takes the same ones: .pop() removes "
        "what it gives.": _take(_not_taken),
        "Each stage is taken to have this level's own number of channels. The last one of a "
        "level comes from before its first block, so it has those of the level above.": _take(
            _own_size
        ),
        "Right as long as all levels have as many blocks as the first; ask for each level: "
        "parts.at('layers_per_block', level).": _of_the_first_level,
        "The list `skips` is not used up: the next level must find what is left. .pop() and del "
        "take from the list itself; skips = skips[…] makes another one.": (
            lambda parts, skips: unet.up_path(parts, list(skips))
        ),
    },
)
