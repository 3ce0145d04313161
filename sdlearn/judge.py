"""Do pictures show what was asked for, are they varied, are they copies? (chapter 11 builds it)

A `Judge` reads prompts and looks at pictures. It shares nothing with the generator: a judge that
had its text encoder would make its mistakes too. Each number comes with its 95% interval (module
`intervals`), beside chance or what real pictures reach.
"""

import functools
import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from sdlearn.checkpoint import write
from sdlearn.clip import CLIPTextModel, ImageTower, Tokenizer, similarity
from sdlearn.data import STYLES, data_folder, load_emoji, to_tensor
from sdlearn.intervals import Compared, Share, bootstrap, wilson
from sdlearn.metrics import check_pictures, check_sets, distance_with_floor, extract_features
from sdlearn.weights import read_json, read_tensors, write_json

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


class Judge(nn.Module):
    """A text encoder and an image tower that are to say the same of a prompt and its picture.

    text: the configuration of a `CLIPTextModel`. tower: settings of an `ImageTower`. tokenizer:
    the text encoder's own, needed by `texts` and `save`. forward(ids [B, L]) → [B, D].
    """

    def __init__(self, text, tower, tokenizer=None):
        super().__init__()
        self.config, self.tokenizer = {"text": dict(text), "tower": dict(tower)}, tokenizer
        self.text = CLIPTextModel.from_config(text)
        self.image = ImageTower(text["hidden_size"], **tower)
        self.logit_scale = nn.Parameter(torch.tensor(2.66))  # ln(1/0.07), where CLIP begins

    def forward(self, ids):
        return self.text.pooled(self.text(ids), ids)

    @torch.no_grad()
    def texts(self, texts, batch_size=512):
        """Prompts or captions, a list of N strings, as unit vectors [N, D] on the CPU."""
        ids = self.tokenizer(texts)
        # What follows the end of a text changes nothing.
        ids = ids[:, : int((ids != ids[:, -1:]).sum(dim=1).max()) + 1]
        device = self.logit_scale.device
        found = torch.cat([self(part.to(device)).cpu() for part in ids.split(batch_size)])
        return nn.functional.normalize(found, dim=1)

    @torch.no_grad()
    def pictures(self, x, batch_size=256):
        """Pictures [N, 3, H, H] in [-1, 1] as unit vectors [N, D] on the CPU."""
        x, device = check_pictures(x), self.logit_scale.device
        found = torch.cat([self.image(part.to(device)).cpu() for part in x.split(batch_size)])
        return nn.functional.normalize(found, dim=1)

    @classmethod
    def load(cls, folder=None):
        """The judge of a folder, by default of data/checkpoints/judge, on the CPU."""
        folder = Path(folder) if folder else data_folder("checkpoints") / "judge"
        files = ("config.json", "model.safetensors", "tokenizer/vocab.json")
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {' and '.join(missing)}: `python tools/train_emoji.py judge` "
                "trains a judge"
            )
        judge = cls(**read_json(folder / files[0]), tokenizer=Tokenizer.load(folder / "tokenizer"))
        judge.load_state_dict(read_tensors(folder / files[1]))  # float16 → float32
        return judge.eval().requires_grad_(False)

    def save(self, folder, half=True):
        """Write config.json, model.safetensors (float16 if half) and tokenizer/ to a folder."""
        folder = Path(folder)
        write_json(folder / "config.json", self.config)
        tensors = {n: x.half() if half else x for n, x in self.state_dict().items()}
        write(folder / "model.safetensors", tensors, {"format": "pt"})
        self.tokenizer.save(folder / "tokenizer")


@functools.lru_cache(maxsize=1)
def shipped_judge():
    """The course's own judge, read once."""
    return Judge.load()


# --- what a picture shows -------------------------------------------------------------------------


def check_prompts(pictures, prompts):
    """Raises ValueError unless `prompts` is a list of strings, one for each of the pictures."""
    check_pictures(pictures)
    if isinstance(prompts, str) or not all(isinstance(text, str) for text in prompts):
        raise ValueError(f"prompts: a list of strings, one a picture, expected, not {prompts!r}")
    if len(prompts) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures and {len(prompts)} prompts: give one each")


def ranks(scores, own):
    """How many others are ranked before one's own: scores [N, M], own [N] → [N], 0 is best.

    One that is level with it counts as before it: who cannot tell two prompts apart is not right.
    """
    level = scores.gather(1, own[:, None])
    return (~(scores < level)).sum(dim=1) - 1  # NaN is not smaller either


def prompt_accuracy(pictures, prompts, candidates=None, judge=None):
    """Share of pictures [N, 3, H, H] whose own prompt is the one that the judge finds nearest.

    candidates: prompts to choose from, the own ones among them; the distinct prompts if None. The
    more there are, and the more alike, the harder: compare only with the same ones. A `Share`.
    """
    check_prompts(pictures, prompts)
    names = list(dict.fromkeys(prompts if candidates is None else candidates))  # each once
    if len(names) < 2:
        raise ValueError("one prompt leaves no choice: give two or more candidates")
    if missing := set(prompts) - set(names):
        raise ValueError(f"{min(missing)!r} is no candidate: a picture's own prompt has to be one")
    judge = judge or shipped_judge()
    scores = similarity(judge.pictures(pictures), judge.texts(names))  # [N, M]
    own = torch.tensor([names.index(text) for text in prompts])
    return wilson(ranks(scores, own) == 0, 1 / len(names))


class Retrieval(NamedTuple):
    """Recall at k in both directions; prints as one line."""

    prompt: Share  # pictures that find their prompt among k
    picture: Share  # prompts that find a picture of theirs among k

    def __str__(self):
        return f"picture to prompt: {self.prompt}, prompt to picture: {self.picture}"


def retrieval(pictures, prompts, k=1, judge=None):
    """How often a picture's own prompt is among its k nearest, and a prompt's among its k nearest.

    Of several pictures of one prompt it is enough that one is found. Returns `Retrieval`.
    """
    check_prompts(pictures, prompts)
    names, judge = list(dict.fromkeys(prompts)), judge or shipped_judge()
    if k not in range(1, len(names)):
        raise ValueError(f"k {k!r} is not one of 1 … {len(names) - 1}: {len(names)} prompts differ")
    own = torch.tensor([names.index(text) for text in prompts])
    scores = similarity(judge.pictures(pictures), judge.texts(names))  # [N, M]
    mine = own == torch.arange(len(names))[:, None]  # [M, N]
    best = scores.T.masked_fill(~mine, -math.inf).amax(dim=1, keepdim=True)
    before = (~(best > scores.T) & ~mine).sum(dim=1)
    n = len(own)
    missed = [math.comb(n - m, k) / math.comb(n, k) for m in mine.sum(dim=1).tolist()]
    to_prompt = wilson(ranks(scores, own) < k, k / len(names))
    return Retrieval(to_prompt, wilson(before < k, 1 - sum(missed) / len(missed)))


# --- drawn pictures beside real ones --------------------------------------------------------------


def check_sizes(*sets):
    """Raises ValueError unless all are pictures [N, C, H, W], of one size."""
    sizes = [list(check_pictures(x).shape[1:]) for x in sets]
    if sizes != sizes[:1] * len(sizes):
        raise ValueError(f"pictures of {sizes}: load the real ones in the drawn ones' size")


def questions(row, known):
    """{attribute: (the row's own answer, {answer: texts that would mean it})} of a row's prompt.

    The texts differ in the one attribute. known: {style: {group: prompts}}.
    """
    prompt, style, tone = row["prompt"], row["style"], row["skin_tone"]
    stem = prompt.removesuffix(f", {style} style")
    asked = {"style": (style, {name: (f"{stem}, {name} style",) for name in STYLES})}
    if row["group"] not in known[style]:
        raise ValueError(f"{prompt!r}: known has no {row['group']!r} in its style")
    asked["group"] = row["group"], known[style]
    if tone in TONES:  # neither none nor two
        own = f"with {tone} skin"
        none = prompt.replace(f"{own} and ", "with ").replace(f" {own}", "")
        asked["tone"] = tone, {t: (prompt.replace(own, f"with {t} skin"),) for t in TONES}
        asked["tone"][1]["none"] = (none,)
    return asked


def attribute_accuracy(pictures, dataset, known=None, judge=None):
    """Which attributes of its prompt a picture shows: {"style", "group", "tone": `Compared`}.

    pictures [N, 3, H, W] were drawn for the N prompts of dataset (rows of `load_emoji`, of the same
    size), whose own pictures, judged by the same texts, are the ceiling. The judge has to choose
    among three styles; among skin tones and none, where the prompt has one; and among groups, by
    the nearest prompt of the row's style in known, the train split if None. Chance is a blind
    choice or always the same answer, whichever is better.
    """
    columns = ["prompt", "style", "group", "skin_tone"]
    if lacking := set(columns) - set(dataset.column_names):
        raise ValueError(f"the dataset lacks {sorted(lacking)}: rows of load_emoji are expected")
    check_sizes(pictures, real := to_tensor(dataset))
    if len(pictures) != len(real):
        raise ValueError(f"{len(pictures)} pictures and {len(real)} rows: give one a picture")
    groups = {style: {} for style in STYLES}
    for row in (load_emoji("train") if known is None else known).select_columns(columns).to_list():
        groups[row["style"]].setdefault(row["group"], []).append(row["prompt"])
    groups = {s: {name: tuple(texts) for name, texts in g.items()} for s, g in groups.items()}
    asked = [questions(row, groups) for row in dataset.select_columns(columns).to_list()]
    sides = highest((pictures, real), asked, judge or shipped_judge())
    drawn, real = (right_answers(best, asked) for best in sides)
    return {name: Compared(drawn[name], real[name]) for name in drawn}


def highest(sides, asked, judge):
    """For each side's pictures: {an answer's texts: their highest scores, one a picture}."""
    sets = {texts for q in asked for _, answers in q.values() for texts in answers.values()}
    places = {text: place for place, text in enumerate(sorted(set().union(*sets)))}
    vectors = judge.texts(list(places))
    for pictures in sides:
        scores = similarity(judge.pictures(pictures), vectors)  # [N, M]
        yield {s: scores[:, [places[text] for text in s]].amax(dim=1).tolist() for s in sets}


def right_answers(best, asked):
    """The `Share` of right answers to each attribute, from `highest` and `questions`."""
    found = {}
    for name in ("style", "group", "tone"):
        cases = [(row, *q[name]) for row, q in enumerate(asked) if name in q]
        right = [
            all(best[texts][row] < best[a[own]][row] for other, texts in a.items() if other != own)
            for row, own, a in cases
        ]
        if cases:
            blind = sum(1 / len(answers) for _, _, answers in cases) / len(cases)
            most = Counter(own for _, own, _ in cases).most_common(1)[0][1] / len(cases)
            found[name] = wilson(right, max(blind, most))
    return found


def manifold_shares(a, b, k=3, keep=0.5):
    """Precision and recall of a sample of features a [N, D] against b [M, D]: two `Share`s.

    A sample covers all that is no farther from one of its points than that point's k-th nearest
    neighbour. Precision: the share of a that b covers. Recall: of b by a. keep: the share of the
    points, those with the nearest neighbours, that count. Kynkäänniemi et al. 2019: 1 in precision
    and recall, 0.5 in their realism score, since one odd point would reach over all the others.
    """
    a, b = check_sets(a, b, least=k + 1)
    distance = functools.partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")

    def covered(x, sample):
        radius = distance(sample, sample).kthvalue(k + 1, dim=1).values  # the nearest is itself
        kept = radius <= radius.quantile(keep)
        return (distance(x, sample[kept]) <= radius[kept]).any(dim=1)

    return wilson(covered(a, b)), wilson(covered(b, a))


def precision_recall(generated, real, k=3, keep=0.5, features=None, seed=0):
    """Are generated pictures like real ones (precision), and as varied (recall)? Two `Compared`.

    generated: [N, 3, H, W]; real: twice as many or more. As in `distance_with_floor`, with real
    against other real, which is the ceiling: about keep, and N changes it. The intervals are too
    narrow, by a third or more: they take what a sample covers as given. What the features do not
    see is no fault: the course's own see blur, but no noise, nor two halves that do not fit.
    """
    distance = functools.partial(manifold_shares, k=k, keep=keep)
    return tuple(map(Compared, *distance_with_floor(generated, real, distance, features, seed)[:2]))


class Nearest(NamedTuple):
    """How near pictures come to training pictures; prints as one line."""

    distance: Compared  # of `Mean`s
    close: Share  # of the pictures, nearer than all but one in twenty of the real ones
    distances: torch.Tensor  # [N]
    rows: torch.Tensor  # [N]: which training picture is the nearest

    def __str__(self):
        return f"{self.distance}; nearer than 19 of 20 real ones: {self.close}"


def nearest_training(pictures, train, held_out, features=None):
    """Are pictures [N, 3, H, W] drawn, or copied from those that were trained on? `Nearest`.

    Their distances to the nearest of train, [M, 3, H, W], in the space of features (see
    `extract_features`), beside those of real pictures that were held out, [K, 3, H, W].
    """
    check_sizes(pictures, train, held_out)
    drawn, train, real = (extract_features(x, features) for x in (pictures, train, held_out))
    (distances, rows), (yardstick, _) = nearest(drawn, train), nearest(real, train)
    close = wilson(distances < yardstick.quantile(0.05), 0.05)
    return Nearest(Compared(bootstrap(distances), bootstrap(yardstick)), close, distances, rows)


def nearest(x, train):
    """How far each of x [N, D] is from the nearest of train [M, D], and which it is: [N], [N]."""
    x, train = check_sets(x, train)
    rows = torch.cat([torch.cdist(part, train).argmin(dim=1) for part in x.split(1000)])
    return (x - train[rows]).norm(dim=1), rows  # again, as cdist rounds 0 to 1e-7 or so
