"""Chapter 09: the exercise `guidance.drop_captions`."""

import functools
import math

import torch
import torch.nn.functional as F

from sdlearn import guidance
from sdlearn.exercises.bank import Case, Exercise


def _drop_cases():
    def contexts(batch, length, dim):
        return torch.randn(batch, length, dim), torch.randn(1, length, dim)

    def seeded(n):
        return torch.Generator().manual_seed(n)

    yield Case((*contexts(60, 3, 2), 0.25, seeded(1)), "a quarter is dropped")
    yield Case((*contexts(60, 5, 4), 0.9, seeded(2)), "nine in ten are dropped")
    yield Case((*contexts(300, 2, 3), 0.0, seeded(3)), "none is dropped")
    yield Case((*contexts(6, 2, 3), 1.0, seeded(4)), "all are dropped")
    yield Case((*contexts(250, 3, 2), 0.004, seeded(5)), "four in a thousand are dropped")
    yield Case((*contexts(1, 3, 2), 0.5, seeded(11)), "a batch of one caption")
    yield Case((*contexts(60, 3, 2), 0.4, None), "no generator is given")


def _drop(chance, keep=False, put=None):
    """A wrong drop_captions: what is drawn, where it counts, and what takes the caption's place."""

    def answer(context, empty, share, generator=None):
        drawn = chance(context, generator)
        dropped = drawn >= share if keep else drawn < share
        return torch.where(dropped, empty if put is None else put(context, empty), context)

    return answer


def _each(context, generator):
    return torch.rand(len(context), 1, 1, generator=generator)


def _drop_tenth(context, empty, share, generator=None):
    return torch.where(_each(context, generator) < 0.1, empty, context)


def _order(context, generator):
    return torch.randperm(len(context), generator=generator)[:, None, None]


def _whole(context, empty, got):
    """True if each caption of an answer is the one that was there, or the empty prompt's."""
    if not isinstance(got, torch.Tensor):
        return False
    if (got.shape, got.dtype, got.device) != (context.shape, context.dtype, context.device):
        return False
    kept, dropped = (torch.isclose(got, x).flatten(1).all(dim=1) for x in (context, empty))
    return bool((kept | dropped).all())


@functools.lru_cache(500)
def _as_good(answer, share, given):
    """True if captions are dropped with the chance `share`, each for itself: 100 batches of 100.

    And if the generator decides which: the `given` one, else torch's own.
    """
    generator = torch.Generator() if given else torch.default_generator

    def drawn():
        generator.manual_seed(1)
        batch = torch.ones(100, 2, 1), torch.zeros(1, 2, 1), share
        batches = [answer(*batch, *[generator] * given) for _ in range(100)]
        return 1 - torch.stack(batches)[..., 0]

    try:
        dropped, again = drawn(), drawn()
    except Exception:  # the student was not asked for these inputs
        return False
    one, other = dropped.unbind(dim=2)  # the captions have two tokens
    spread = share * (1 - share)
    if spread == 0 or not (torch.equal(dropped, again) and torch.equal(one, other)):
        return False
    counts = [one.sum(dim=dim).var() / (100 * spread) for dim in (0, 1)]  # about 1
    near = abs(float(one.mean()) - share) < 4.5 * math.sqrt(spread / 100**2)
    return near and all(0.4 < count < 2 for count in counts)


def _run_drop(answer, context, empty, share, generator):
    """The answer; the reference's if it drops other captions that are drawn just as well."""
    torch.rand(1)  # else a seed 0 in the answer would be what it starts from, see trial.reseed
    source, given = generator or torch.default_generator, generator is not None
    start = source.get_state()
    right = guidance.drop_captions(context, empty, share, source)
    source.set_state(start)
    got = answer(context, empty, share, *[source] * given)
    other = not DROP.equal(right, got) and _whole(context, empty, got)
    return right if other and _as_good(answer, share, given) else got


DROP = Exercise(
    "guidance.drop_captions",
    reference=guidance.drop_captions,
    cases=_drop_cases,
    run=_run_drop,
    advice={
        r"tensor [ab] \(\d": "One number for each caption has to have the shape [B, 1, 1] to go "
        "with [B, L, D].",
        "shape of the mask": "As an index, context[dropped], a mask is [B]; torch.where takes one "
        "of [B, 1, 1].",
        "stack expects": "empty is [1, L, D]; a single caption is empty[0].",
        "argument: 'generator'": "It may be left out: generator=None in the first line.",
        "'NoneType' object": "generator may be None; torch.rand takes that, too.",
    },
    changes=("generator",),
    hints=[
        "Draw one number between 0 and 1 for each caption; where it is below `share`, the caption "
        "is dropped.",
        "torch.rand(len(context), 1, 1, generator=generator, device=context.device) has one number "
        "for each caption, in a shape that fits to [B, L, D].",
        "return torch.where(chance < share, empty, context)",
    ],
    mistakes={
        "The comparison is the wrong way round: you keep `share` of the captions and drop the "
        "others.": _drop(_each, keep=True),
        "The tokens are drawn for one by one, so that captions get holes. A caption is dropped as "
        "a whole: one number each, [B, 1, 1].": _drop(
            lambda c, g: torch.rand(*c.shape[:2], 1, generator=g)
        ),
        "One number for each place in the text, shared by all captions, which get holes there. A "
        "caption is dropped as a whole: one number each, [B, 1, 1].": _drop(
            lambda c, g: torch.rand(1, c.shape[1], 1, generator=g)
        ),
        "Every single number of the context is drawn for. A caption is dropped as a whole: one "
        "number each, [B, 1, 1].": _drop(lambda c, g: torch.rand(c.shape, generator=g)),
        "One number decides for the whole batch; draw one for each caption.": _drop(
            lambda c, g: torch.rand(1, 1, 1, generator=g)
        ),
        "Dropped captions become zeros. The empty prompt has states of its own: empty.": _drop(
            _each, put=lambda c, e: torch.zeros_like(c)
        ),
        "The numbers are normal (randn), half of them below 0; they should be evenly spread "
        "between 0 and 1: rand.": _drop(lambda c, g: torch.randn(len(c), 1, 1, generator=g)),
        "Nothing is dropped.": _drop(lambda c, g: torch.rand(len(c), 1, 1, generator=g) + 1),
        "The numbers do not come from the generator: generator=generator. Otherwise no run can be "
        "repeated.": _drop(lambda c, g: torch.rand(len(c), 1, 1)),
        "A fixed number of captions is dropped, always the first ones of the batch; each should "
        "have the same chance.": _drop(lambda c, g: torch.arange(len(c))[:, None, None] / len(c)),
        "The number dropped is fixed; each caption has its own chance.": _drop(
            lambda c, g: _order(c, g).argsort(dim=0) / len(c)
        ),
        "The order is drawn and the number dropped is fixed; each caption has its own "
        "chance.": _drop(lambda c, g: _order(c, g) / len(c)),
        "Dropped captions are exchanged for others of the batch; they should become the empty "
        "prompt.": _drop(_each, put=lambda c, e: c.roll(1, dims=0)),
        "The empty prompt is added to the caption; it should take its place.": _drop(
            _each, put=lambda c, e: c + e
        ),
        "It drops the same captions each time, those that the seed 0 gives: leave out "
        "manual_seed, and go on with the generator as it is.": _drop(
            lambda c, g: _each(c, torch.Generator().manual_seed(0))
        ),
        "Without a generator it drops the same captions each time: a new torch.Generator() always "
        "has the same seed. Pass None on to torch.rand.": _drop(
            lambda c, g: _each(c, g or torch.Generator())
        ),
        "The dropped captions are missing: the batch keeps its size, [B, L, D], and they become "
        "the empty prompt's (torch.where).": lambda context, empty, share, generator=None: context[
            _each(context, generator).flatten() >= share
        ],
        "One number decides for the whole batch, which then is empty, [1, L, D]: draw one for each "
        "caption.": lambda context, empty, share, generator=None: (
            empty if torch.rand(1, generator=generator) < share else context
        ),
        "Context and empty are blended, the same for all. Each caption stays, or becomes the empty "
        "prompt's.": lambda context, empty, share, generator=None: (
            share * empty + (1 - share) * context
        ),
        "It equals F.dropout: single numbers become 0, and the others larger. A caption is dropped "
        "as a whole, and becomes the empty prompt's.": lambda context, empty, share, g=None: (
            F.dropout(context, share)
        ),
        "A tenth is dropped, whatever share is: compare with share.": _drop_tenth,
        "Only a hundredth of the share is dropped: torch.rand is between 0 and 1, as share "
        "is.": _drop(lambda c, g: 100 * _each(c, g)),
        "The chance is a multiple of 1/10 (torch.randint with 10 numbers), so 0.25 becomes 0.3: "
        "torch.rand takes any share.": _drop(
            lambda c, g: torch.randint(10, (len(c), 1, 1), generator=g) / 10
        ),
        "The chance is a multiple of 1/100 (torch.randint with 100 numbers), so 0.004 becomes "
        "0.01: torch.rand takes any share.": _drop(
            lambda c, g: torch.randint(100, (len(c), 1, 1), generator=g) / 100
        ),
    },
)
