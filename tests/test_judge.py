"""Judging: intervals against tables, choices against judges that know the truth, sets by hand."""

import math
import re
import zlib

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch import nn

from sdlearn import judge as judging
from sdlearn.clip import Tokenizer, contrastive_loss
from sdlearn.data import STYLES, data_folder, load_emoji, to_tensor
from sdlearn.intervals import Compared, Mean, bootstrap, wilson
from sdlearn.judge import (
    TONES,
    Judge,
    attribute_accuracy,
    manifold_shares,
    nearest_training,
    precision_recall,
    prompt_accuracy,
    retrieval,
    shipped_judge,
)

SHIPPED = data_folder("checkpoints") / "judge" / "model.safetensors"


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right, n, low, high",
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (20, 20, 0.8389, 1.0),
        (81, 263, 0.2553, 0.3662),  # this and the next: Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_wilson_is_the_tabulated_one(right, n, low, high):
    found = wilson([True] * right + [False] * (n - right))
    assert found.share == right / n and found.number == n
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    # Where the share is 1.96 standard deviations of the end from the end.
    for end in (found.low, found.high):
        if 0 < end < 1 - 1e-12:
            assert abs(found.share - end) == pytest.approx(
                1.959964 * math.sqrt(end * (1 - end) / n), rel=1e-9
            )


def test_wilson_covers_what_it_says():
    n, share = 20, torch.linspace(0.05, 0.95, 19).double()
    ends = [wilson([True] * k + [False] * (n - k)) for k in range(n + 1)]
    weights = torch.tensor([math.comb(n, k) for k in range(n + 1)]).double()[:, None]
    k = torch.arange(n + 1)[:, None]
    weights = weights * share**k * (1 - share) ** (n - k)  # [n+1, 19]
    inside = torch.tensor([[e.low <= p <= e.high for p in share.tolist()] for e in ends])
    covered = (weights * inside).sum(dim=0)
    assert covered.min() > 0.9 and abs(covered.mean() - 0.95) < 0.01


def test_a_share_prints_as_one_line():
    assert str(wilson([1, 1, 0, 1])) == "75.0% of 4 (95%: 30.1 to 95.4)"
    assert str(wilson(torch.tensor([True, False]), 1 / 3)) == (
        "50.0% of 2 (95%: 9.5 to 90.5; chance 33.3%)"
    )


@pytest.mark.parametrize("right", [[], [0.5, 1.0], [2, 0], [math.nan, 1.0]])
def test_what_is_no_share(right):
    with pytest.raises(ValueError, match="True or False"):
        wilson(right)


def test_bootstrap_of_many_values_is_the_textbook_interval():
    values = 3 + 2 * normal(400, seed=1)
    found = bootstrap(values, draws=4000)
    half = 1.96 * values.std().item() / 20
    assert isinstance(found, Mean) and found.number == 400
    assert found.mean == pytest.approx(values.mean().item(), rel=1e-6)
    # The ends of 4,000 means are known to 4% of the half width or so.
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)


def test_bootstrap_knows_no_shape():
    skewed = normal(30, seed=2).mul(1.5).exp()
    found = bootstrap(skewed)
    assert found.high - found.mean > 1.1 * (found.mean - found.low)
    moved = bootstrap(10 * skewed - 4)
    assert moved[:3] == pytest.approx([10 * x - 4 for x in found[:3]], rel=1e-5)
    assert bootstrap([2.0, 2.0, 2.0]) == Mean(2.0, 2.0, 2.0, 3)
    assert str(bootstrap([2.0, 2.0])) == "2 (95%: 2 to 2; 2)"


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [1.0, math.nan]])
def test_what_has_no_bootstrap(values):
    with pytest.raises(ValueError, match=f"{len(values)} values .* finite"):
        bootstrap(values)


def test_both_sides_of_a_comparison_are_told():
    both = Compared(wilson([0, 1], 0.5), wilson([1, 1], 0.5))
    assert str(both) == (
        "50.0% of 2 (95%: 9.5 to 90.5; chance 50%), "
        "real pictures: 100.0% of 2 (95%: 34.2 to 100.0; chance 50%)"
    )


# --- judges that know the truth -------------------------------------------------------------------


def numbered(values):
    """Pictures of one grey each, by which a judge knows them again: [N, 3, 16, 16]."""
    return torch.as_tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 16, 16) / 127.5 - 1


def numbers(x):
    return ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def part(text):
    """A direction of its own for each text, nearly at right angles to all others: [512]."""
    return normal(512, seed=zlib.crc32(text.encode()))


class Knows:
    """Is told what picture number n shows. Subject, skin tone and style are heard one by one."""

    def __init__(self, shown):
        self.shown = shown

    def pictures(self, x):
        return self.texts([self.shown[n] for n in numbers(x)])

    def texts(self, texts):
        return torch.stack([self.text(text) for text in texts])

    def text(self, text):
        subject, _, style = text.rpartition(", ")
        tone = re.search("with ([a-z-]+) skin", subject)
        subject = re.sub(" with [a-z-]+ skin(?! and)", "", subject)
        subject = re.sub("with [a-z-]+ skin and", "with", subject)
        return torch.cat([part(subject), part(tone[1] if tone else ""), part(style)])


class Guesses:
    """Looks at nothing, and has an opinion."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def pictures(self, x):
        return torch.randn(len(x), 64, generator=self.generator)

    def texts(self, texts):
        return torch.randn(len(texts), 64, generator=self.generator)


class Constant:
    """Has one vector for all."""

    def __init__(self, value=1.0):
        self.value = value

    def pictures(self, x):
        return torch.full((len(x), 4), self.value)

    def texts(self, texts):
        return torch.full((len(texts), 4), self.value)


WORDS = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("cup", "cat")]


def test_who_knows_the_prompts_is_always_right():
    pictures, prompts = numbered(range(12)), 2 * WORDS
    found = prompt_accuracy(pictures, prompts, judge=Knows(prompts))
    assert found == wilson([True] * 12, 1 / 6)
    found = retrieval(pictures, prompts, judge=Knows(prompts))
    assert found.prompt.share == found.picture.share == 1
    assert (found.prompt.number, found.picture.number) == (12, 6)  # pictures; prompts
    assert "picture to prompt: 100.0% of 12" in str(found)
    assert "prompt to picture: 100.0% of 6" in str(found)


def test_shuffled_prompts_give_chance():
    prompts, judge = 40 * WORDS, Knows(40 * WORDS)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(0)).tolist()
    found = prompt_accuracy(numbered(range(240)), [prompts[k] for k in order], judge=judge)
    assert found.chance == pytest.approx(1 / 6)
    assert found.low < 1 / 6 < found.high
    found = prompt_accuracy(numbered(range(240)), prompts, judge=Guesses())
    assert found.low < 1 / 6 < found.high


@pytest.mark.parametrize("judge", [Constant(), Constant(math.nan)])
def test_who_cannot_tell_apart_is_never_right(judge):
    pictures, prompts = numbered(range(12)), 2 * WORDS
    assert prompt_accuracy(pictures, prompts, judge=judge).share == 0
    assert retrieval(pictures, prompts, 5, judge) == (
        wilson([False] * 12, 5 / 6),
        *[retrieval(pictures, prompts, 5, judge).picture],
    )
    assert retrieval(pictures, prompts, 5, judge).picture.share == 0


def test_other_candidates_make_it_harder():
    pictures, prompts = numbered(range(3)), ["red cup", "red cat", "blue cat"]
    judge = Knows(["red cup", "red dog", "blue cat"])
    assert prompt_accuracy(pictures, prompts, judge=judge).share >= 2 / 3
    found = prompt_accuracy(pictures, prompts, [*prompts, "red dog", "red dog"], judge)
    assert found.share == 2 / 3 and found.chance == 1 / 4  # each candidate counts once


def retrieval_by_hand(scores, own, k):
    """Sorted lists; scores [N pictures, M prompts] without ties."""
    to_prompt = [own[i] in np.argsort(-row)[:k] for i, row in enumerate(scores)]
    to_picture = [
        any(own[i] == m for i in np.argsort(-scores[:, m])[:k]) for m in range(scores.shape[1])
    ]
    return np.mean(to_prompt), np.mean(to_picture)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_retrieval_is_that_of_sorted_lists(k):
    prompts = [*WORDS, *WORDS[:3], WORDS[0], WORDS[0]]  # 4, 2, 2, 1, 1, 1 pictures
    own = [WORDS.index(text) for text in prompts]
    vectors = normal(11, 8), normal(6, 8, seed=1)

    class Given:
        pictures, texts = (staticmethod(lambda _, v=v: v) for v in vectors)

    unit = [nn.functional.normalize(v, dim=1) for v in vectors]
    want = retrieval_by_hand((unit[0] @ unit[1].T).numpy(), own, k)
    found = retrieval(numbered(range(11)), prompts, k, Given)
    assert (found.prompt.share, found.picture.share) == pytest.approx(want)
    assert 0 < want[0] < 1


def test_chance_of_retrieval_is_what_guessing_gives():
    prompts = [*WORDS, *WORDS[:3], WORDS[0], WORDS[0]]
    judge, pictures = Guesses(), numbered(range(11))
    found = [retrieval(pictures, prompts, 2, judge) for _ in range(300)]
    for shares in zip(*found):
        mean = np.mean([share.share for share in shares])
        error = np.std([share.share for share in shares]) / 300**0.5
        assert abs(mean - shares[0].chance) < 4 * error
    assert found[0].prompt.chance == pytest.approx(1 / 3)
    # With two of eleven pictures looked at: 1 - C(n - own, 2) / C(n, 2), for 4, 2, 2, 1, 1, 1.
    want = np.mean([1 - math.comb(11 - own, 2) / 55 for own in (4, 2, 2, 1, 1, 1)])
    assert found[0].picture.chance == pytest.approx(want)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((numbered([1, 2]), ["a"]), "2 pictures and 1 prompts"),
        ((numbered([1]), "a"), "list of strings"),
        ((numbered([1, 2]), ["a", None]), "list of strings"),
        ((numbered([1, 2]).mul(127), ["a", "b"]), "x / 127.5 - 1"),
        ((numbered([1, 2]), ["a", "a"]), "two or more candidates"),
        ((numbered([1, 2]), ["a", "b"], ["a", "c"]), "'b' is no candidate"),
    ],
)
def test_what_cannot_be_judged(arguments, message):
    with pytest.raises(ValueError, match=message):
        prompt_accuracy(*arguments, judge=Guesses())


@pytest.mark.parametrize("k", [0, 2, 1.5])
def test_recall_at_what_is_no_rank(k):
    with pytest.raises(ValueError, match="not one of 1 … 1: 2 prompts differ"):
        retrieval(numbered([1, 2]), ["a", "b"], k, Guesses())


# --- attributes -----------------------------------------------------------------------------------

GROUPS = {"cup": "food-drink", "cat": "animals-nature", "guard": "people-body"}


def emoji(texts, first=0):
    """Rows like those of `load_emoji`; picture number first + n shows what its prompt says."""
    pictures = (numbered(range(first, first + len(texts))) + 1) * 127.5
    tones = [re.findall("with ([a-z-]+) skin", text) for text in texts]
    return Dataset.from_dict(
        {
            "image": [
                Image.fromarray(x.permute(1, 2, 0).numpy().round().astype(np.uint8))
                for x in pictures
            ],
            "prompt": texts,
            "style": [text.split(", ")[1].removesuffix(" style") for text in texts],
            "group": [next(g for word, g in GROUPS.items() if word in text) for text in texts],
            "skin_tone": [" and ".join(found) for found in tones],
        }
    )


SUBJECTS = ["red cup", "black cat", "guard with dark skin", "guard with light skin and red hair"]
PROMPTS = [f"{subject}, {style} style" for subject in SUBJECTS for style in STYLES]
BARE = ["red cup", "white cat", "black cat", "guard", "guard with red hair"]
KNOWN = emoji([f"{subject}, {style} style" for subject in BARE for style in STYLES])


def shares(found, side="drawn"):
    return {name: getattr(both, side).share for name, both in found.items()}


@pytest.mark.parametrize(
    "change, style, group, tone",
    [
        (lambda text: text, 1, 1, 1),
        (lambda text: re.sub(", .* style", ", painted style", text), None, 1, 1),
        (lambda text: text.replace("3d", "flat"), 2 / 3, 1, 1),
        (lambda text: text.replace("red cup", "white cat"), 1, 3 / 4, 1),
        (lambda text: text.replace("dark skin", "light skin"), 1, 1, 1 / 2),
        (lambda text: text.replace(" with dark skin", ""), 1, 1, 1 / 2),  # no tone where one is due
    ],
)
def test_each_attribute_is_judged_by_itself(change, style, group, tone):
    dataset = emoji(PROMPTS)  # pictures 0 … 11; the drawn ones are 100 … 111
    judge = Knows(
        {**dict(enumerate(PROMPTS)), **{100 + k: change(t) for k, t in enumerate(PROMPTS)}}
    )
    found = attribute_accuracy(numbered(range(100, 112)), dataset, KNOWN, judge)
    want = {"style": style, "group": group, "tone": tone}
    have = shares(found)
    assert have.keys() == want.keys()
    for name, share in want.items():
        assert share is None or have[name] == pytest.approx(share), name
    assert shares(found, "real") == {"style": 1, "group": 1, "tone": 1}
    for name, n in {"style": 12, "group": 12, "tone": 6}.items():
        assert found[name].drawn.number == found[name].real.number == n


def test_chance_of_attributes_is_the_better_of_two_blind_strategies():
    found = attribute_accuracy(numbered(range(12)), emoji(PROMPTS), KNOWN, Constant())
    chance = {name: both.drawn.chance for name, both in found.items()}
    # A third each; two of the four subjects are people; two tones of six answers come up.
    assert chance == pytest.approx({"style": 1 / 3, "group": 1 / 2, "tone": 1 / 2})
    assert all(both.drawn.chance == both.real.chance for both in found.values())
    assert shares(found) == shares(found, "real") == {"style": 0, "group": 0, "tone": 0}
    tones = [f"guard with {tone} skin, flat style" for tone in TONES]
    found = attribute_accuracy(numbered(range(5)), emoji(tones), KNOWN, Guesses())
    assert found["tone"].real.chance == pytest.approx(1 / 5)  # one of six blindly, "dark" one in 5


def test_shuffled_prompts_show_the_attributes_by_chance():
    prompts = [f"guard with {t} skin, {s} style" for t in TONES for s in STYLES] * 16  # 240
    order = torch.randperm(240, generator=torch.Generator().manual_seed(0)).tolist()
    dataset, judge = emoji(prompts), Knows(prompts)
    found = attribute_accuracy(numbered(order), dataset, KNOWN, judge)
    for name in ("style", "tone"):
        assert found[name].drawn.low < found[name].drawn.chance < found[name].drawn.high, name
        assert found[name].real.share == 1


def test_without_skin_there_is_no_tone():
    two = "guard with dark skin and cat with light skin, flat style"
    for prompts in (["red cup, 3d style", "cat, flat style"], [two, "red cup, 3d style"]):
        found = attribute_accuracy(numbered([0, 1]), emoji(prompts), KNOWN, Knows(prompts))
        assert list(found) == ["style", "group"]


@pytest.mark.parametrize(
    "pictures, dataset, message",
    [
        (numbered([0]), emoji(PROMPTS[:2]), "1 pictures and 2 rows"),
        (torch.zeros(2, 3, 32, 32), emoji(PROMPTS[:2]), r"\[3, 32, 32\], \[3, 16, 16\]"),
        (numbered([0]), emoji(PROMPTS[:1]).remove_columns("group"), r"lacks \['group'\]"),
        (numbered([0]), emoji(["guard, bold style"]), "known has no 'people-body' in its style"),
    ],
)
def test_what_has_no_attributes(pictures, dataset, message):
    with pytest.raises(ValueError, match=message):
        attribute_accuracy(pictures, dataset, KNOWN.select(range(9)), Guesses())  # no guard there


def test_the_choices_of_the_real_data_set():
    table = load_emoji("all").data.table.select(
        ["prompt", "caption", "style", "group", "skin_tone"]
    )
    rows = table.to_pylist()
    captions, bare = {row["caption"] for row in rows}, re.compile("(.*), (3d|flat|bold) style")
    known = {style: {row["group"]: ("",) for row in rows} for style in STYLES}
    tones = nones = 0
    for row in rows:
        asked = judging.questions(row, known)
        style, texts = asked["style"]
        assert texts[style] == (row["prompt"],) and len({*texts.values()}) == 3
        assert ("tone" in asked) == (row["skin_tone"] in TONES)
        if "tone" in asked:
            tone, texts = asked["tone"]
            assert texts[tone] == (row["prompt"],) and len({*texts.values()}) == 6
            found = {name: bare.fullmatch(text)[1] for name, (text,) in texts.items()}
            tones += sum(found[name] in captions for name in TONES) / 5
            nones += found["none"] in captions
    # Nearly all are captions of the data set, so that a judge has met such texts.
    single = sum(row["skin_tone"] in TONES for row in rows)
    assert tones / single > 0.99 and nones / single > 0.9


# --- precision and recall -------------------------------------------------------------------------


def covered_by_hand(x, sample, k, keep):
    radius = []
    for i, centre in enumerate(sample):
        others = [math.dist(centre, other) for j, other in enumerate(sample) if j != i]
        radius.append(sorted(others)[k - 1])
    kept = [i for i, r in enumerate(radius) if r <= np.quantile(radius, keep)]
    return np.mean([any(math.dist(p, sample[i]) <= radius[i] for i in kept) for p in x])


@pytest.mark.parametrize("k, keep", [(1, 1), (3, 1), (3, 0.5)])
def test_precision_and_recall_point_by_point(k, keep):
    a, b = normal(30, 3).double(), 0.6 * normal(40, 3, seed=1).double() + 0.5
    precision, recall = manifold_shares(a, b, k, keep)
    assert (precision.number, recall.number) == (30, 40)
    points_a, points_b = a.tolist(), b.tolist()
    assert precision.share == pytest.approx(covered_by_hand(points_a, points_b, k, keep))
    assert recall.share == pytest.approx(covered_by_hand(points_b, points_a, k, keep))
    assert 0 < precision.share < recall.share  # b is the narrower one
    assert manifold_shares(b, a, k, keep) == (recall, precision)
    assert [share.share for share in manifold_shares(a, a, k, 1)] == [1, 1]


def test_one_odd_point_covers_all_unless_it_is_left_out():
    b = torch.cat([normal(50, 2), torch.full((1, 2), 40.0)])  # its neighbours are 50 away
    a = normal(20, 2, seed=1) + torch.tensor([8.0, 8.0])  # between the two, where nothing is
    assert manifold_shares(a, b, keep=1)[0].share == 1
    assert manifold_shares(a, b)[0].share == 0


def test_a_sample_needs_neighbours():
    with pytest.raises(ValueError, match=r"first sample: \[3, 2\] given, a tensor \[4 or more"):
        manifold_shares(normal(3, 2), normal(9, 2))


def as_pictures(points):
    """Points [N, 2] as pictures, and `position` the way back."""
    return nn.functional.pad(points[:, :, None, None], (0, 15, 0, 15, 0, 1)) / 10


def position(x):
    return 10 * x[:, :2, 0, 0]


CROWDS = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 5.0]])


def crowds(n, which, seed):
    places = torch.tensor(which)[torch.arange(n) % len(which)]
    return as_pictures(CROWDS[places] + normal(n, 2, seed=seed))


@pytest.mark.parametrize("keep", [0.5, 1])
def test_precision_and_recall_fail_one_by_one(keep):
    real = crowds(400, [0, 1, 2], 1)
    stray = crowds(200, [0, 1, 2], 2)
    good = precision_recall(stray, real, keep=keep, features=position)
    few = precision_recall(crowds(200, [1], 3), real, keep=keep, features=position)
    stray[:100] = as_pictures(torch.full((100, 2), -8.0) + normal(100, 2, seed=4))
    stray = precision_recall(stray, real, keep=keep, features=position)
    for both in good:
        assert abs(both.drawn.share - both.real.share) < 0.15  # 3 deviations of such a difference
        assert both.real.share > 0.8 * keep
        assert both.real.number == both.drawn.number == 200
    (precision, recall), ceiling = (both.drawn.share for both in good), good[0].real
    assert few[0].drawn.share > precision - 0.1  # one crowd of three
    assert few[1].drawn.share < 0.5 * recall
    assert stray[0].drawn.share < 0.6 * precision
    # The stray ones are a dense crowd: they take their part of the half of the circles that count.
    assert stray[1].drawn.share > (0.7 if keep == 1 else 0.4) * recall
    # The ceiling is that of real pictures, whatever was drawn.
    assert few[0].real == stray[0].real == ceiling
    one = crowds(1, [0], 5).repeat(200, 1, 1, 1)
    assert precision_recall(one, real, keep=keep, features=position)[1].drawn.share < 0.02


@pytest.fixture(scope="module")
def real():
    """600 real pictures [600, 3, 32, 32] of the train split in any order, and their styles."""
    rows = torch.randperm(9482, generator=torch.Generator().manual_seed(0))[:600].tolist()
    dataset = load_emoji("train", size=32)
    styles = np.array(dataset.data.table["style"].to_pylist())[rows]
    return to_tensor(dataset.select(rows)), styles


def test_precision_and_recall_of_pictures(real):
    pictures, styles = real
    drawn, rest = pictures[:200], pictures[200:]
    good = precision_recall(drawn, rest)
    for both in good:
        # Two draws of the same kind: a deviation of 0.05 each (20 draws), so 0.07 of the two.
        assert abs(both.drawn.share - both.real.share) < 3 * 0.07
        assert 0.35 < both.drawn.share < 0.65
    blurred = nn.functional.avg_pool2d(nn.functional.pad(drawn, [2] * 4, value=1.0), 5, 1)
    nothing = normal(*drawn.shape).clamp(-1, 1)
    assert precision_recall(blurred, rest)[0].drawn.share < 0.15
    assert [both.drawn.share for both in precision_recall(nothing, rest)] == [0, 0]
    # Here, an odd real picture is farther from its like than noise is from it.
    assert precision_recall(nothing, rest, keep=1)[0].drawn.share > 0.9
    bold = torch.tensor(np.resize(np.flatnonzero(styles[:200] == "bold"), 200))
    collapsed = precision_recall(drawn[bold], rest)
    assert collapsed[1].drawn.share < 0.5 * good[1].drawn.share
    assert collapsed[0].drawn.share > good[0].drawn.share - 0.15


def test_noise_that_the_features_see_lowers_precision(real):
    clean, rest = real[0][:120], real[0][120:360]
    noisy = (clean + 0.4 * normal(*clean.shape)).clamp(-1, 1)
    clean, noisy = (precision_recall(x, rest, features=nn.Flatten()) for x in (clean, noisy))
    assert noisy[0].drawn.share < 0.6 * clean[0].drawn.share
    assert noisy[0].real == clean[0].real


def test_too_few_real_pictures():
    with pytest.raises(ValueError, match="need 20 real ones"):
        precision_recall(crowds(10, [0], 1), crowds(19, [0], 2), features=position)


# --- nearest training picture ---------------------------------------------------------------------


def test_nearest_pair_by_pair():
    drawn, train, held_out = (as_pictures(normal(n, 2, seed=n)) for n in (30, 1100, 25))
    found = nearest_training(drawn, train, held_out, position)
    points = [position(x).tolist() for x in (drawn, train, held_out)]
    for k, point in enumerate(points[0]):
        distances = [math.dist(point, other) for other in points[1]]
        assert found.distances[k].item() == pytest.approx(min(distances), rel=1e-5)
        assert found.rows[k] == int(np.argmin(distances))
    yardstick = [min(math.dist(p, other) for other in points[1]) for p in points[2]]
    assert found.distance.real.mean == pytest.approx(np.mean(yardstick), rel=1e-5)
    assert found.distance.real.number == 25
    assert found.distance.drawn == bootstrap(found.distances)
    assert found.close == wilson(found.distances < np.quantile(yardstick, 0.05), 0.05)


def test_copies_are_found(real):
    pictures, _ = real
    train, held_out, fresh = pictures[:300], pictures[300:450], pictures[450:]
    copied = nearest_training(train[100:200], train, held_out)
    assert copied.rows.tolist() == list(range(100, 200))
    # Sums in another order, as batches differ: real distances are 1 and more.
    assert copied.distances.max() < 1e-3 and copied.close.share == 1
    honest = nearest_training(fresh, train, held_out)
    # ± 0.025: the share of 150 pictures, and the one in twenty of 150 that it is held against.
    assert abs(honest.close.share - 0.05) < 3 * 0.025
    assert honest.distance.drawn.low < honest.distance.real.high
    assert honest.distance.real.low < honest.distance.drawn.high
    some = nearest_training(torch.cat([fresh[:120], train[:30]]), train, held_out)
    assert some.close.low > 0.1 > some.close.chance  # a fifth are copies
    # Not pixel by pixel, either: a little noise does not hide a copy.
    noisy = nearest_training(train[:30] + 0.02 * normal(30, 3, 32, 32), train, held_out)
    assert noisy.rows.tolist() == list(range(30)) and noisy.close.share > 0.9


def test_nearest_prints_what_it_takes_to_read_it():
    x = as_pictures(normal(20, 2))
    line = str(nearest_training(x, x, x + 0.1, position))
    assert line.startswith("0 (95%: 0 to 0; 20), real pictures: ")
    assert "; nearer than 19 of 20 real ones: 100.0% of 20 (95%: 83.9 to 100.0; chance 5%)" in line


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((numbered([1, 2]), numbered([3]), torch.zeros(2, 3, 32, 32)), "drawn ones' size"),
        ((numbered([1, 2]), torch.zeros(2, 3, 16, 16).byte(), numbered([3, 4])), "torch.uint8"),
        ((numbered([1]), numbered([3]), numbered([3, 4])), "2 or more are needed"),
    ],
)
def test_what_has_no_nearest(arguments, message):
    with pytest.raises(ValueError, match=message):
        nearest_training(*arguments)


# --- a judge of one's own -------------------------------------------------------------------------

TEXT = {
    "model_type": "clip_text_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
TOWER = {"width": 16, "layers": 1, "heads": 2, "size": 16}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(WORDS, 520, length=16)
    text = {**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.end}
    return Judge(text, TOWER, tokenizer).eval()


def test_vectors_of_texts_and_pictures(tiny):
    texts, pictures = tiny.texts(WORDS), tiny.pictures(normal(6, 3, 16, 16) / 3)
    for vectors in (texts, pictures):
        assert vectors.shape == (6, 16) and not vectors.requires_grad
        assert torch.allclose(vectors.norm(dim=1), torch.ones(6))
    # Neither what else is in the batch nor the padding changes anything.
    assert torch.allclose(tiny.texts(WORDS[2:3]), texts[2:3], atol=1e-6)
    assert torch.allclose(tiny.texts([*WORDS, 6 * "red "], batch_size=4)[:6], texts, atol=1e-6)
    whole = nn.functional.normalize(tiny(tiny.tokenizer(WORDS)), dim=1)
    assert torch.allclose(whole, texts, atol=1e-6)
    x = normal(6, 3, 16, 16) / 3
    assert torch.allclose(tiny.pictures(x, batch_size=4), tiny.pictures(x), atol=1e-6)


def test_a_judge_goes_to_a_folder_and_back(tiny, tmp_path):
    tiny.logit_scale.data.fill_(4.0)
    tiny.save(tmp_path / "whole", half=False)
    back = Judge.load(tmp_path / "whole")
    x = normal(3, 3, 16, 16) / 3
    assert torch.equal(back.texts(WORDS), tiny.texts(WORDS))
    assert torch.equal(back.pictures(x), tiny.pictures(x))
    assert not back.training and not any(p.requires_grad for p in back.parameters())
    tiny.save(tmp_path / "half")
    half = Judge.load(tmp_path / "half")
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert (half.texts(WORDS) * tiny.texts(WORDS)).sum(dim=1).min() > 0.9999
    size = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert size[0] < 0.6 * size[1]


def test_a_folder_without_judge(tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks config.json and model.safetensors"):
        Judge.load(tmp_path)


def test_a_judge_learns_what_is_red_and_round():
    """From nothing to always right, by the loss that trains the course's own."""
    torch.manual_seed(0)
    colours = {"red": (1, -1, -1), "blue": (-1, -1, 1), "green": (-1, 1, -1)}
    prompts, pictures = [], []
    for name, colour in colours.items():
        for half in ("top", "bottom"):
            x = torch.ones(3, 16, 16)
            x[:, slice(8) if half == "top" else slice(8, 16)] = torch.tensor(colour)[:, None, None]
            prompts.append(f"{name} {half}")
            pictures.append(x)
    tokenizer = Tokenizer.train(prompts, 520, length=8)
    text = {**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.end}
    judge, x = Judge(text, TOWER, tokenizer), torch.stack(pictures)
    before = prompt_accuracy(x, prompts, judge=judge)
    optimiser = torch.optim.Adam(judge.parameters(), 3e-3)
    for _ in range(80):
        loss = contrastive_loss(judge(tokenizer(prompts)), judge.image(x), judge.logit_scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    noisy = (x + 0.1 * normal(*x.shape)).clamp(-1, 1)
    after = prompt_accuracy(noisy, prompts, judge=judge)
    assert after.share == 1 > before.share
    assert retrieval(noisy, prompts, judge=judge).picture.share == 1


# --- the judge of the course ----------------------------------------------------------------------

shipped = pytest.mark.skipif(not SHIPPED.is_file(), reason=f"{SHIPPED} is not there yet")


@pytest.fixture(scope="module")
def held_out():
    dataset = load_emoji(["test_pair", "test_style"])
    return dataset, to_tensor(dataset)


@shipped
def test_the_shipped_judge_knows_real_pictures(held_out):
    dataset, x = held_out
    assert shipped_judge() is shipped_judge()
    prompts = list(dataset["prompt"])
    found = prompt_accuracy(x, prompts)
    assert found.low > 0.3  # of 560 prompts, many of them nearly the same: chance is 0.0018
    five = retrieval(x, prompts, 5)
    assert five.prompt.low > found.high and five.picture.low > 0.5
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    assert prompt_accuracy(x[shuffled], prompts).share < 0.02


@shipped
@pytest.mark.slow
def test_the_shipped_judge_tells_attributes(held_out):
    dataset, x = held_out
    found = attribute_accuracy(x, dataset)
    assert all(both.drawn == both.real for both in found.values())
    for name, least in {"style": 0.7, "group": 0.65, "tone": 0.6}.items():
        share = found[name].real
        assert share.low > max(least, share.chance), name
    # Grey pictures show nothing that was asked for.
    nothing = attribute_accuracy(torch.zeros_like(x), dataset, known=dataset)
    for name in ("style", "tone"):
        assert nothing[name].drawn.low < nothing[name].drawn.chance, name
        assert nothing[name].real == found[name].real
