"""Which slip explains wrong numbers that no known mistake does (used by the exercise engine)."""

import itertools
import math
import operator

import torch

from .compare import close, factor, fits, numeric, relation, whole, wide


def explain(trial, refs, gots):
    """Sentences about answers of the right kinds and shapes whose numbers are wrong.

    trial: the engine's Trial, to run answer and reference on changed inputs.
    refs, gots: the values expected and given, for each case.
    """
    looks = [Look(trial, name, get, refs, gots) for name, get in _fields(trial, refs).items()]
    if len(looks) > 1 and all(map(trial.exercise.equal, refs, (tuple(got)[::-1] for got in gots))):
        return f"The values are in the wrong order: return {', '.join(l.name for l in looks)}."
    fine = [look.name for look in looks if not look.wrong]
    look = next(look for look in looks if look.wrong)
    lead = f"{' and '.join(fine)}: right. {look.name}: not yet." if fine else ""
    return "\n".join(filter(None, (lead, *look.sentences())))


def _fields(trial, refs):
    """The parts of an answer: name → function that takes it out; one part, "", if there is one."""
    first = refs[0]
    if not isinstance(first, (tuple, dict)) or len({len(ref) for ref in refs}) > 1:
        return {"": lambda value: value}
    keys = list(first) if isinstance(first, dict) else range(len(first))
    names = trial.exercise.returns or [
        key if isinstance(first, dict) else f"value {key + 1}" for key in keys
    ]
    return {str(name): operator.itemgetter(key) for name, key in zip(names, keys)}


def _is_index(value):
    """True for a whole number or a tensor of such."""
    if isinstance(value, torch.Tensor):
        return value.dtype in (torch.int64, torch.int32)
    return isinstance(value, int) and not isinstance(value, bool)


class Look:
    """A closer look at one part of the answers: `sentences` says what it finds."""

    def __init__(self, trial, name, get, refs, gots):
        self.trial, self.name, self.get = trial, name, get
        self.subject = f"Your {name}" if name else "Your answer"
        self.reference, self.answer = trial.exercise.reference, trial.answer
        self.raw = [(get(ref), get(got)) for ref, got in zip(refs, gots)]
        self.whole = all(whole(expected) for expected, _ in self.raw)
        rtol, atol = (0, 0) if self.whole else (trial.exercise.rtol, trial.exercise.atol)
        self.tolerance = dict(rtol=rtol, atol=atol)
        self.wrong = [i for i, (e, g) in enumerate(self.raw) if not close(e, g, **self.tolerance)]
        self.expected, self.got = ([numeric(v) for v in values] for values in zip(*self.raw))
        self.cases = range(len(self.raw))

    def sentences(self):
        pairs = list(zip(self.expected, self.got))
        if any(e is None or g is None or e.shape != g.shape or e.is_complex() for e, g in pairs):
            expected, got = self.raw[self.wrong[0]]
            label = self.trial.labels[self.wrong[0]]
            return self.where(), f'Case "{label}": expected {expected!r:.200}, got {got!r:.200}.'
        tests = (self.off_by_one, self.rounding, self.sizes, self.relation, self.exchanged)
        tests += (self.random, self.ignored, self.pictures, self.terms, self.zeros)
        cause = next(filter(None, (test() for test in tests)), None)
        return cause, self.where(), self.first()

    def where(self):
        """In which cases the answer is right and wrong, if it is right in some."""

        def listed(cases, most=3):
            labels = [f'"{self.trial.labels[i]}"' for i in cases]
            return ", ".join(labels[:most] + [f"{len(labels) - most} more"] * (len(labels) > most))

        right = [i for i in self.cases if i not in self.wrong]
        return right and f"It is right in the case {listed(right)}; wrong in {listed(self.wrong)}."

    def first(self):
        """The first element that differs."""
        i = self.wrong[0]
        e, g = self.expected[i], self.got[i]
        differ = ~torch.isclose(g, e, equal_nan=True, **self.tolerance)
        place = tuple(differ.nonzero()[0].tolist())
        at = f", at {list(place)}" if place else ""
        form = ".0f" if self.whole else ".6g"
        values = f"expected {float(e[place]):{form}}, got {float(g[place]):{form}}."
        return f'First difference, case "{self.trial.labels[i]}"{at}: {values}'

    def near(self, e, g):
        return e.shape == g.shape and torch.allclose(g, e, equal_nan=True, **self.tolerance)

    def inputs(self, i, k):
        """Input k of case i, None if the case has fewer."""
        return (self.trial.inputs(i) + [None] * (k + 1))[k]

    def at(self, who, i, change=None, seed=0):
        """What answer or reference give on changed inputs; None if they refuse them."""
        try:
            return numeric(self.get(self.trial.call(who, i, change, seed)))
        except Exception:  # whatever it is: the student was not asked for these inputs
            return None

    def both(self, i, change=None, seed=0):
        """The reference's and the answer's value on changed inputs, or None."""
        e = self.at(self.reference, i, change, seed)
        g = None if e is None else self.at(self.answer, i, change, seed)
        return None if g is None or e.shape != g.shape else (e, g)

    def relation(self):
        e, g = (torch.cat([v[i].flatten() for i in self.wrong]) for v in (self.expected, self.got))
        said = relation(e, g)
        return said and f"{self.subject} is {said}."

    def sizes(self):
        """A sum in place of a mean, or the other way round."""
        ratios, sizes = [], []
        for i in self.wrong:
            e, g = self.expected[i], self.got[i]
            tensors = [a for a in self.trial.inputs(i) if isinstance(a, torch.Tensor) and a.dim()]
            ratio = float((e * g).sum() / (e * e).sum())
            if not tensors or not tensors[0].numel() or not math.isfinite(ratio):
                return None
            if not fits(ratio * e, g):
                return None
            n, pictures = tensors[0].numel(), len(tensors[0])
            ratios.append(ratio)
            sizes.append((n, n / pictures, pictures))
        ratios, sizes = torch.tensor(ratios).double(), torch.tensor(sizes).double()
        words = "all numbers", "the numbers of a picture", "the pictures"
        for size, word in zip(sizes.T, words):
            if (size > 1).any() and fits(size, ratios):
                return f"{self.subject} is too large: it has a sum over {word} for a mean."
            if (size > 1).any() and fits(1 / size, ratios):
                return f"{self.subject} is too small: it has a mean over {word} for a sum."
        return None

    def exchanged(self):
        for j, k in itertools.combinations(range(len(self.trial.names)), 2):
            if self.matches(lambda args, j=j, k=k: {j: args[k], k: args[j]}):
                x, y = self.trial.names[j], self.trial.names[k]
                return f"{self.subject} is what comes out with {x} and {y} exchanged."
        return None

    def off_by_one(self):
        for (k, name), step in itertools.product(enumerate(self.trial.names), (1, -1)):
            if _is_index(self.inputs(0, k)) and self.matches(
                lambda args, k=k, step=step: {k: args[k] + step}
            ):
                return f"{self.subject} is the one for {name} {step:+d}: an index is off by one."
        return None

    def matches(self, change):
        """True if the reference on inputs changed by change(args) is what the student has."""
        found = []
        for i in self.cases:
            args = self.trial.inputs(i)
            if len(args) < len(self.trial.names):
                continue
            value = self.at(self.reference, i, change(args))
            if value is not None and not self.near(value, self.got[i]):
                return False
            found.append(value is not None and i in self.wrong)
        return any(found)

    def rounding(self):
        pairs = [(self.expected[i], self.got[i]) for i in self.wrong]
        worst = [float((g - e).abs().max()) for e, g in pairs]
        if self.whole or any(w > 1e-3 * float(e.abs().max()) for w, (e, _) in zip(worst, pairs)):
            return None
        return (
            f"{self.subject} is close: the largest difference is {max(worst):.1e}, more than "
            "rounding makes. Look for lower precision, a rounded number or a small one added."
        )

    def random(self):
        for i in self.cases:
            pair = self.both(i, seed=1)
            if (
                pair
                and self.near(self.expected[i], pair[0])
                and not self.near(self.got[i], pair[1])
            ):
                return f"{self.subject} draws random numbers: it changes while its inputs do not."
        return None

    def ignored(self):
        """Inputs that should make a difference and do not."""
        names = []
        for k, name in enumerate(self.trial.names):
            follows = {self.follows(i, k) for i in self.cases}
            if False in follows and True not in follows:
                names.append(name)
        return names and f"{self.subject} does not change when {' or '.join(names)} changes."

    def follows(self, i, k):
        """True if the answer follows input k of case i where the reference does; None: unknown."""
        for value in self.alternatives(i, k):
            pair = self.both(i, {k: value})
            if pair and not self.near(self.expected[i], pair[0]):
                return not self.near(self.got[i], pair[1])
        return None

    def alternatives(self, i, k):
        """Other values for input k of case i: a changed one, then those of other cases."""
        value = self.inputs(i, k)
        if isinstance(value, float) or (
            isinstance(value, torch.Tensor) and value.is_floating_point()
        ):
            yield value * 1.3 + 0.1
        elif isinstance(value, torch.Tensor) and _is_index(value):
            yield torch.where(value > 0, value - 1, value + 1)
        elif _is_index(value):
            yield value - 1 if value > 0 else value + 1
        if value is not None:
            yield from (self.inputs(j, k) for j in self.cases if j != i)

    def pictures(self):
        """Which pictures of the batches are right, if that has to do with the first one."""
        masks = self.masks()
        if masks and all(m.tolist() == [True] + [False] * (len(m) - 1) for m in masks.values()):
            return "Only the first picture of a batch is right."
        said = "Right only for pictures whose {} is that of the first: is one used for all?"
        return self.rule(masks, said, lambda v: v == v[0])

    def zeros(self):
        """Whether the answer is right or wrong just where an index is 0."""
        said = {"Right": lambda v: v == 0, "Wrong": lambda v: v != 0}
        found = (self.rule(self.masks(), w + " only where {} is 0.", r) for w, r in said.items())
        return next(filter(None, found), None)

    def masks(self):
        """For each wrong case of more than one picture: which of them are right [B]."""
        found = {i: (self.expected[i], self.got[i]) for i in self.wrong}
        return {
            i: torch.tensor([self.near(x, y) for x, y in zip(e, g)])
            for i, (e, g) in found.items()
            if e.dim() and len(e) > 1
        }

    def rule(self, masks, said, rule):
        """`said` with the name of the input [B] that obeys rule(input) == mask in all cases."""
        if not any(mask.any() for mask in masks.values()):
            return None
        for k, name in enumerate(self.trial.names):
            pairs = [(self.inputs(i, k), mask) for i, mask in masks.items()]
            if all(isinstance(v, torch.Tensor) and v.shape == m.shape for v, m in pairs) and all(
                torch.equal(rule(v), m) for v, m in pairs
            ):
                return said.format(name)
        return None

    def terms(self):
        """How the inputs that come in with a factor do so, if the answer is a sum of such terms."""
        wrong, right, alone = [], [], []
        for k, name in enumerate(self.trial.names):
            found = [self.factors(i, k) for i in self.wrong]
            if None in found:
                continue
            expected, got, rest = zip(*found)
            if any(c is None for c in (*expected, *got)):
                alone += [name] * all(rest)
                continue
            c, d = torch.cat(expected), torch.cat(got)
            if torch.allclose(c, d, rtol=2e-4, atol=1e-6):
                right.append(name)
                continue
            said = relation(c, d)
            worst = int((c - d).abs().argmax())
            numbers = f"by {d[worst]:.4g} where {c[worst]:.4g} is expected"
            wrong.append(f"{name} is multiplied {f'by {said} ({numbers})' if said else numbers}")
        if wrong:
            also = f" What you do with {' and '.join(right)} is right." if right else ""
            return f"{'; '.join(wrong)}.{also}"
        if alone:
            return f"With {' or '.join(alone)} set to 0 your answer is right: look at that term."
        return None

    def factors(self, i, k):
        """Input k's right factors, the answer's, and whether all else is right; None: no term."""
        x = self.inputs(i, k)
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            return None
        pair = self.both(i, {k: torch.zeros_like(x)})
        if pair is None or pair[0].shape != self.expected[i].shape:
            return None
        rest = self.near(*pair) and bool(pair[0].any())
        if x.shape != self.expected[i].shape:
            return None, None, rest
        terms = self.expected[i] - pair[0], self.got[i] - pair[1]
        return *(factor(term, wide(x)) for term in terms), rest
