"""Chapter 10: the exercise `pipeline.check_seeds`."""

from numbers import Number

import torch

from sdlearn import pipeline
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.exercises.ch10.common import NONE, refuse


def _seed_cases():
    yield Case((7, 3), "one seed, three pictures")
    yield Case((0, 1), "seed 0")
    yield Case(([5, 90, 6], 3), "a list, one for each")
    yield Case(([40], 2), "a list of one, two pictures")
    yield Case((None, 3), "seed is None")
    yield Case((-1, 2), "a negative seed: to be refused with a ValueError")
    yield Case(([7, 7], 2), "the same seed twice")
    yield Case((1.5, 2), "a fraction: to be refused with a ValueError")
    yield Case((2.0, 2), "2.0, a float: to be refused with a ValueError")
    yield Case((True, 2), "True: to be refused with a ValueError")
    yield Case(([True, 2], 2), "True in a list: to be refused with a ValueError")
    yield Case(([1, -2], 2), "a list with a negative seed: to be refused with a ValueError")
    yield Case(([1, 2.5], 2), "a list with a fraction: to be refused with a ValueError")
    yield Case(([1, 2], 3), "two seeds for three pictures: to be refused with a ValueError")
    yield Case(([1, 2, 3], 2), "three seeds for two pictures: to be refused with a ValueError")
    yield Case(([], 2), "an empty list: to be refused with a ValueError")


def _run_seeds(answer, seed, count):
    """The seeds; of seeds drawn at random, what is to be seen of them, in words."""
    again = list(seed) if isinstance(seed, list) else seed
    found = answer(seed, count)
    if not isinstance(found, (list, tuple)):
        drawn = seed is None and found is not None and found is not ...
        return "no list" if drawn else found
    if not all(isinstance(number, (Number, torch.Tensor)) for number in found):
        return found
    if seed is None:
        return _drawn([found] + [answer(None, count) for _ in range(19)], count)
    if not all(type(number) is int for number in found):
        return found
    pairs = zip(found, answer(again, count))
    return [a if a == b else "a number drawn at random" for a, b in pairs]


def _drawn(draws, count):
    """What is to be seen of some draws of seeds, in words."""
    numbers = [number for seeds in draws for number in seeds]
    if len(numbers) != count * len(draws):
        return f"{len(draws[0])} of {count} seeds"
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        return "seeds that are no ints from 0 to 2**63 - 1"
    rising = all(b - a == 1 for seeds in draws for a, b in zip(seeds, seeds[1:]))
    different = len(set(map(tuple, draws)))
    often = "the same ones come again soon" if different > 1 else "the same ones each time"
    often = "others each time" if different == len(draws) else often
    return f"{count} seeds, {'' if rising else 'not '}each the one before + 1, {often}"


def _seeds(
    following=lambda seed, count: [seed + i for i in range(count)],
    drawn=lambda count: int(torch.randint(2**31, (1,))),
    right=lambda number: type(number) is int and number >= 0,
    checked=lambda seeds: seeds,
    several=lambda seeds, count: seeds,
    number_right=lambda seeds, count: len(seeds) == count,
    unfit=refuse,
):
    """A wrong check_seeds: one of its parts is another."""

    def answer(seed, count):
        seed = drawn(count) if seed is None else seed
        seeds = list(seed) if isinstance(seed, (list, tuple)) else [seed]
        if not all(map(right, checked(seeds))):
            return unfit()
        seeds = following(seeds[0], count) if len(seeds) == 1 else several(seeds, count)
        return seeds if number_right(seeds, count) else unfit()

    return answer


def _only_for(which, wrong):
    """A wrong check_seeds, but only for some seeds: so it is found beside other mistakes."""
    return lambda seed, count: (wrong if which(seed) else pipeline.check_seeds)(seed, count)


def _for_a_number(wrong):
    return _only_for(lambda seed: type(seed) is int and seed >= 0, wrong)


def _for_a_list_of_one(wrong):
    return _only_for(lambda seed: isinstance(seed, list) and len(seed) == 1, wrong)


SEEDS = Exercise(
    "pipeline.check_seeds",
    reference=pipeline.check_seeds,
    cases=_seed_cases,
    run=_run_seeds,
    refuses=ValueError,
    hints=[
        "Four kinds of seed: None, a number, a list of one, a list of several. Make a list first.",
        "None: draw one number, secrets.randbelow(2**31). One number n: [n, n + 1, …], count of "
        "them.",
        "Refuse what is not a whole number (type(number) is not int) or less than 0, and a list of "
        "several whose length is not count: raise ValueError(…).",
    ],
    mistakes={
        "All pictures get the same seed, and so the same noise: the next ones have seed + 1, "
        "seed + 2, …": _for_a_number(lambda seed, count: [seed] * count),
        "The first picture has the seed itself, not seed + 1.": _for_a_number(
            lambda seed, count: [seed + 1 + i for i in range(count)]
        ),
        "The given seed does not appear: yours counts from 0.": _for_a_number(
            lambda seed, count: list(range(count))
        ),
        "The seeds go down; the next picture has seed + 1.": _for_a_number(
            lambda seed, count: [seed - i for i in range(count)]
        ),
        "Only one seed comes back; there is one for each picture.": _for_a_number(
            lambda seed, count: [seed]
        ),
        "A list of one counts as a number, so the next pictures have seed + 1, …; in yours all "
        "have the same.": _for_a_list_of_one(lambda seed, count: seed * count),
        "A list of one comes back as it is; it counts as a number, so the next pictures have "
        "seed + 1, …": _for_a_list_of_one(lambda seed, count: seed),
        "A list of one is refused; it counts as a number, so the next pictures have "
        "seed + 1, …": _for_a_list_of_one(lambda seed, count: refuse()),
        "A given seed is not used, one is drawn all the same: draw only where seed is "
        "None.": _for_a_number(lambda seed, count: pipeline.check_seeds(None, count)),
        "For seed 0 another one is drawn. It is a seed like others, but Python's `not 0` is True: "
        "ask whether seed is None.": _only_for(
            lambda seed: seed == 0, lambda seed, count: pipeline.check_seeds(None, count)
        ),
        "For an empty list a seed is drawn, as for None; its length is wrong: raise a "
        "ValueError.": _only_for(
            lambda seed: seed == [], lambda seed, count: pipeline.check_seeds(None, count)
        ),
        "Nothing comes back where seed is None: draw a number at random, and go on with it as with "
        "a given one.": _only_for(lambda seed: seed is None, lambda seed, count: None),
        "None is refused; it is no error, but says that a seed is to be drawn at random. Draw it "
        "before the checks.": _only_for(lambda seed: seed is None, lambda seed, count: refuse()),
        "The seeds drawn for None have to be plain ints from 0 to 2**63 - 1, the pipeline takes no "
        "others: int(…) or .item() makes one of a tensor, and secrets.randbelow(2**31) gives "
        "one.": _only_for(
            lambda seed: seed is None, lambda seed, count: [torch.tensor(i) for i in range(count)]
        ),
        "Among 20 draws for None some seeds came again: they are drawn from too few numbers. "
        "secrets.randbelow(2**31) has enough.": _seeds(
            drawn=lambda count: int(torch.randint(10, (1,)))
        ),
        "None has to give another seed each time; yours gave the same in 20 calls, one right after "
        "the other.": _seeds(drawn=lambda count: 0),
        "None: one seed is drawn, and each of the others is the one before + 1, so that one number "
        "is enough to ask for the same pictures again.": _seeds(
            drawn=lambda count: [int(torch.randint(2**31, (1,))) for _ in range(count)]
        ),
        "A list's entries are not checked: each has to be an int of 0 or more, or else raise a "
        "ValueError.": _only_for(
            lambda seed: isinstance(seed, list), _seeds(right=lambda number: True)
        ),
        "A number that stands alone is not checked: it has to be an int of 0 or more, or else "
        "raise a ValueError.": _only_for(
            lambda seed: isinstance(seed, (int, float)), _seeds(right=lambda number: True)
        ),
        "A negative seed is accepted: raise a ValueError.": _seeds(
            right=lambda number: type(number) is int
        ),
        "A fraction is accepted: raise a ValueError.": _seeds(right=lambda number: number >= 0),
        "A float such as 2.0 is accepted: raise a ValueError where type(number) is not "
        "int.": _seeds(right=lambda number: number >= 0 and number % 1 == 0),
        "True is accepted: isinstance(True, int) holds, type(True) is int does not.": _seeds(
            right=lambda number: isinstance(number, int) and number >= 0
        ),
        "True alone is accepted: isinstance(True, int) holds, type(True) is int does "
        "not.": _only_for(
            lambda seed: seed is True, lambda seed, count: [1 + i for i in range(count)]
        ),
        "Of a list only the first seed is checked.": _seeds(checked=lambda seeds: seeds[:1]),
        "Floats are turned into whole numbers in silence, as by int(); raise a "
        "ValueError.": _only_for(
            lambda seed: isinstance(seed, float),
            lambda seed, count: [int(seed) + i for i in range(count)],
        ),
        "A list of the wrong length is accepted: raise a ValueError.": _seeds(
            number_right=lambda seeds, count: True
        ),
        "A list that is too long is cut in silence: raise a ValueError.": _seeds(
            several=lambda seeds, count: seeds[:count]
        ),
        "Of a list only the first counts in yours; each picture has its own.": _seeds(
            several=lambda seeds, count: [seed + i for seed in seeds[:1] for i in range(count)]
        ),
        "A list is put in order; the first seed is the first picture's.": _seeds(
            several=lambda seeds, count: sorted(seeds)
        ),
        NONE: _seeds(unfit=lambda: None),
    },
)
