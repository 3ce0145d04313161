"""Chapter 03: the exercise `unet.up_path`."""

from types import SimpleNamespace

import torch
from torch import nn

from sdlearn import unet
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch03.common import closed

_right = unet.up_path


def _paths():
    common = {"norm_num_groups": 4, "attention_head_dim": 4}
    for sizes, depth, label in (
        ([8, 16, 24], 2, "there are two blocks a level"),
        ([8, 16, 24], 1, "there is one block a level"),
        ([8, 12, 12, 16], [1, 3, 2, 2], "each level has a number of blocks of its own"),
        ([24, 8, 16], 2, "the channels do not grow all the way down"),
        ([16], 2, "there is one level only"),
    ):
        config = {
            **common,
            "block_out_channels": sizes,
            "layers_per_block": depth,
            "down_block_types": ["DownBlock2D"] * len(sizes),
            "up_block_types": ["UpBlock2D"] * len(sizes),
        }
        parts, skips = unet.Parts(unet.complete(config)), [sizes[0]]
        for level, size in enumerate(sizes):  # what down_path gives, without its blocks
            skips += [size] * (parts.at("layers_per_block", level) + (level < len(sizes) - 1))
        yield Case((parts, skips), label)


def _stages(answer, parts, skips):
    """What each level of the way up takes, in words, and how many stages are left over."""
    with torch.device("meta"), closed(unet, "up_path", "parts and skips"):
        blocks = answer(parts, skips)
    if blocks is None or blocks is ...:
        return blocks
    if not isinstance(blocks, nn.ModuleList):
        return f"{type(blocks).__name__}, no nn.ModuleList", len(skips)
    sizes = parts.config["block_out_channels"]
    if len(blocks) != len(sizes):
        return f"blocks for {len(sizes)} levels: {len(blocks)}", len(skips)
    said, before = [], sizes[-1]
    for level, block in zip(reversed(range(len(sizes))), blocks):
        convs = [resnet.conv1 for resnet in block.resnets]
        of_x = [before] + [sizes[level]] * len(convs)
        taken = [str(conv.in_channels - x) for conv, x in zip(convs, of_x)]
        fits = all(conv.out_channels == sizes[level] for conv in convs)
        said.append(
            f"level {level} " + (f"takes {', '.join(taken) or 'none'}" if fits else "is another's")
        )
        before = sizes[level]
    return "; ".join(said), len(skips)


class _Block(nn.Module):
    """In place of an UpBlock, which takes long to make: what its convolutions take."""

    def __init__(self, channels_in, channels, skips):
        super().__init__()
        sizes = [channels_in] + len(skips) * [channels]
        convs = [
            SimpleNamespace(in_channels=a + s, out_channels=channels) for a, s in zip(sizes, skips)
        ]
        self.resnets = [SimpleNamespace(conv1=conv) for conv in convs]


def _take(choose):
    """A wrong up_path: choose(skips, n, level, sizes) gives the channels that a level takes."""

    def answer(parts, skips):
        sizes = parts.config["block_out_channels"]
        blocks, before = nn.ModuleList(), sizes[-1]
        for level in reversed(range(len(sizes))):
            n = parts.at("layers_per_block", level)
            taken = choose(skips, n, level, sizes)
            blocks.append(_Block(before, sizes[level], taken))
            before = sizes[level]
        return blocks

    return answer


def _last(skips, count):
    """The last of the stages, the very last first, taken out of the list."""
    return [skips.pop() for _ in range(min(count, len(skips)))]


def _several(count):
    """A wrong up_path: count(n, level, sizes) stages are taken, from the right end."""
    return _take(lambda skips, n, level, sizes: _last(skips, count(n, level, sizes)))


def _at(level):
    """A wrong up_path: n is that of another level, level(level, number of levels)."""

    def answer(parts, skips):
        def count(n, here, sizes):
            return parts.at("layers_per_block", level(here, len(sizes))) + 1

        return _several(count)(parts, skips)

    return answer


def _largest(skips, n, level, sizes):
    taken = sorted(skips)[-n - 1 :][::-1]
    for size in taken:
        skips.remove(size)
    return taken


def _first_block(parts, skips):
    """What comes back if `return` stands in the loop."""
    blocks = _right(parts, list(skips))
    _last(skips, len(blocks[0].resnets))
    return blocks[:1]


UP_PATH = Exercise(
    "unet.up_path",
    reference=unet.up_path,
    cases=_paths,
    run=_stages,
    returns=("stages taken", "stages left over"),
    changes=("skips",),
    advice={
        "pop from (an )?empty list": "More stages are taken than there are. A level takes n + 1, "
        'and n, parts.at("layers_per_block", level), may differ from level to level.',
        r"concatenate (list|tuple)|'(list|tuple)' object cannot|unary -: '(list|tuple)'": "A "
        'list is no number. parts.config["layers_per_block"] may be a list, with a number for each '
        'level; parts.at("layers_per_block", level) is the number of this level.',
        r"has no len\(\)": "taken has to be a list, with a channel count for each block of the "
        "level.",
        "layers_per_block": 'n is parts.at("layers_per_block", level).',
        "index out of range": "An index is beyond the end of its list. Levels run from 0 to "
        "len(sizes) - 1, stages from skips[0] to skips[-1].",
        "'int' and 'NoneType'": "An entry of taken is None; each has to be a number of channels.",
        "not a Module subclass": "taken is a plain list of numbers, without nn.ModuleList.",
    },
    hints=[
        "The list is a stack: the last stage of the way down is the first that is wanted.",
        "A level of n residual blocks on the way down has n + 1 on the way up, and each takes one.",
        "n is parts.at('layers_per_block', level). skips.pop() gives the last one and removes it.",
        "[skips.pop() for _ in range(parts.at('layers_per_block', level) + 1)]",
    ],
    mistakes={
        "One stage too few: the way up has one residual block more in each level than the way "
        "down, so that every stage, those after downsampling "
        "and conv_in's too, finds a taker.": _several(lambda n, level, sizes: n),
        "Each level takes n + 2 stages, as long as there are any; it has n + 1 blocks.": _several(
            lambda n, level, sizes: n + 2
        ),
        "Each level takes three stages, as long as there are any. It is n + 1, which is 3 only "
        'where n, parts.at("layers_per_block", level), is 2.': _several(lambda n, level, sizes: 3),
        "Each level takes one stage alone; it has n + 1 blocks, and each takes one.": _several(
            lambda n, level, sizes: 1
        ),
        "Each level takes one stage, and that n + 1 times; each block takes one of its own: "
        "[skips.pop() for …].": _take(lambda skips, n, level, sizes: _last(skips, 1) * (n + 1)),
        "The first level takes all stages, and nothing is left for the others: each level takes "
        "n + 1.": _several(lambda n, level, sizes: 99),
        "The last level of the way up, level 0, takes one stage too few: every level takes n + 1, "
        "and conv_in's stage is the last.": _several(lambda n, level, sizes: n + (level > 0)),
        "The first level of the way up takes one stage too few: every level takes n + 1, with or "
        "without a halving.": _several(lambda n, level, sizes: n + (level < len(sizes) - 1)),
        "The stages are taken from the front; the way up begins where the way down ended: the "
        "last comes first, .pop().": _take(
            lambda skips, n, level, sizes: [skips.pop(0) for _ in range(n + 1)]
        ),
        "A level's stages are in the order of the way down; the last one comes first.": _take(
            lambda skips, n, level, sizes: _last(skips, n + 1)[::-1]
        ),
        "The stages stay in the list, so that every level takes the same ones: .pop() removes "
        "what it gives.": _take(lambda skips, n, level, sizes: skips[::-1][: n + 1]),
        "The stages stay in the list, so that every level takes the same ones, and in the order of "
        "the way down; the last one comes first: .pop() gives it and removes it.": _take(
            lambda skips, n, level, sizes: skips[-n - 1 :]
        ),
        "Each level removes n stages and takes n + 1, so that the last one stays in the list for "
        "the next level too: remove it as well.": _take(
            lambda skips, n, level, sizes: _last(skips, n) + skips[-1:]
        ),
        "Each level removes n + 1 stages and takes only n of them. A slice leaves out its end: "
        "[:-n - 2:-1] holds n + 1.": _take(lambda skips, n, level, sizes: _last(skips, n + 1)[:-1]),
        "The stages with most channels are taken; it goes by their place in the list, the last one "
        "first. sorted() and max() would do only where channels grow all the way down.": _take(
            _largest
        ),
        "Each stage is taken to have this level's own number of channels. The last one of a "
        "level comes from before its first block, so it has those of the level above.": _take(
            lambda skips, n, level, sizes: [sizes[level] for _ in _last(skips, n + 1)]
        ),
        "This level's channels are added to each stage's. UpBlock adds those of x itself: taken "
        "holds the stages' alone.": _take(
            lambda skips, n, level, sizes: [sizes[level] + s for s in _last(skips, n + 1)]
        ),
        "The channels of the level before are added to each stage's. UpBlock adds those of x "
        "itself: taken holds the stages' alone.": _take(
            lambda skips, n, level, sizes: [
                sizes[min(level + 1, len(sizes) - 1)] + s for s in _last(skips, n + 1)
            ]
        ),
        "Right as long as all levels have as many blocks as the first; ask for each level: "
        "parts.at('layers_per_block', level).": _at(lambda level, count: 0),
        "The levels are counted from the wrong end: n of this level is "
        "parts.at('layers_per_block', level).": _at(lambda level, count: count - 1 - level),
        "n is that of level - 1; a level asks for its own: parts.at('layers_per_block', "
        "level).": _at(lambda level, count: level - 1),
        "The list `skips` is not used up: the next level must find what is left. .pop() and del "
        "take from the list itself; skips = skips[…] makes another one.": (
            lambda parts, skips: _right(parts, list(skips))
        ),
        "A plain list comes back; return blocks, the nn.ModuleList: the network would not find the "
        "weights of blocks in a plain list.": lambda parts, skips: list(_right(parts, skips)),
        "Two values come back; return blocks alone. The caller has the list skips.": (
            lambda parts, skips: (_right(parts, skips), skips)
        ),
        "Only the first block comes back: return blocks belongs after the loop.": _first_block,
        "Nothing comes back: return blocks is missing at the end.": lambda parts, skips: None,
    },
)
