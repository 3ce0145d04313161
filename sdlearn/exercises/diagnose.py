"""Which slip explains wrong numbers that no known mistake does (used by the exercise engine)."""

import itertools
import operator
from functools import partial

import torch

from .compare import Refused, close, factor, fits, near, numeric, relation, shown, whole, wide

# What is said of an input {0} [B] if exactly the pictures where it obeys the rule are right.
RULES = {
    "Wrong only where {0} is 0, where nothing comes before: an index {0} - 1 means the last entry "
    "there, or with a clamp the first one once more.": lambda v: v != 0,
    "Right only where {0} is that of the first picture: is one used for all?": lambda v: v == v[0],
    "Right only where {0} is 0.": lambda v: v == 0,
}


def explain(trial, refs, gots):
    """Sentences about answers of the right kinds and shapes whose numbers are wrong.

    trial: the engine's Trial, to run answer and reference on changed inputs.
    refs, gots: the values expected and given, for each case.
    """
    taken = [ref for ref in refs if not isinstance(ref, Refused)]
    first, parts = taken[0], {"": lambda value: value}
    if isinstance(first, (tuple, dict)) and len({len(ref) for ref in taken}) == 1:
        keys = list(first) if isinstance(first, dict) else range(len(first))
        names = trial.exercise.returns or [f"value {k + 1}" if k in range(99) else k for k in keys]
        parts = {str(name): operator.itemgetter(key) for name, key in zip(names, keys)}
    looks = [Look(trial, name, get, refs, gots) for name, get in parts.items()]
    fine = [look.name for look in looks if not look.wrong]
    look = next(look for look in looks if look.wrong)
    lead = f"{' and '.join(fine)}: right. {look.name}: not yet." if fine else ""
    return "\n".join(filter(None, (lead, *look.sentences())))


def _is_index(value):
    """True for a whole number or a tensor of such."""
    return getattr(value, "dtype", type(value)) in (int, torch.int64, torch.int32)


class Look:
    """A closer look at one part of the answers: `sentences` says what it finds."""

    def __init__(self, trial, name, get, refs, gots):
        self.trial, self.name, self.get = trial, name, get
        self.subject = f"Your {name}" if name else "Your answer"
        self.reference, self.answer = trial.exercise.reference, trial.answer
        # A refused case is right where this comes to be asked: nothing is compared there.
        refused = [isinstance(ref, Refused) for ref in refs]
        pairs = zip(refs, gots, refused)
        self.raw = [(0, 0) if no else (get(ref), get(got)) for ref, got, no in pairs]
        self.whole = all(whole(expected) for expected, _ in self.raw)
        rtol, atol = (0, 0) if self.whole else (trial.exercise.rtol, trial.exercise.atol)
        self.tolerance = dict(rtol=rtol, atol=atol)
        self.wrong = [i for i, (e, g) in enumerate(self.raw) if not close(e, g, **self.tolerance)]
        self.expected, self.got = ([numeric(v) for v in values] for values in zip(*self.raw))
        self.cases = [i for i, no in enumerate(refused) if not no]

    def sentences(self):
        pairs = list(zip(self.expected, self.got))
        if any(e is None or g is None or e.shape != g.shape or e.is_complex() for e, g in pairs):
            label, (e, g) = self.trial.labels[self.wrong[0]], self.raw[self.wrong[0]]
            return self.where(), f'Case "{label}": expected {shown(e)}, got {shown(g)}.'
        wrong_at_0, like_first, right_at_0 = (partial(self.rule, *rule) for rule in RULES.items())
        tests = (self.off_by_one, self.rounding, wrong_at_0, self.sizes, self.relation)
        tests += (self.exchanged, self.random, self.ignored, like_first, self.first_only)
        tests = (*tests, self.terms, right_at_0)
        return next(filter(None, (test() for test in tests)), None), self.where(), self.first()

    def where(self):
        """In which cases the answer is right and wrong, if it is right in some."""

        def listed(cases, most=3):
            more = [f"{len(cases) - most} more"] * (len(cases) > most)
            return ", ".join([f'"{self.trial.labels[i]}"' for i in cases[:most]] + more)

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
        return near(e, g, **self.tolerance)

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
        zero = "0 everywhere: something in it is multiplied by 0, or taken from itself"
        said = relation(e, g, ends=True) if g.any() else zero
        return said and f"{self.subject} is {said}."

    def sizes(self):
        """A sum in place of a mean, or the other way round."""
        triples = []
        for i in self.wrong:
            tensors = [a for a in self.trial.inputs(i) if isinstance(a, torch.Tensor) and a.dim()]
            triples += [(self.expected[i], self.got[i], a) for a in tensors[:1] if a.numel()]
        words = {"all numbers": torch.numel, "the pictures": len}
        words["the numbers of a picture"] = lambda batch: batch[0].numel()
        for word, size in words.items() if len(triples) == len(self.wrong) else ():
            many = any(size(a) > 1 for *_, a in triples)
            if many and all(fits(e * size(a), g) for e, g, a in triples):
                return f"{self.subject} is too large: it has a sum over {word} for a mean."
            if many and all(fits(e / size(a), g) for e, g, a in triples):
                return f"{self.subject} is too small: it has a mean over {word} for a sum."
        return None

    def exchanged(self):
        for (j, x), (k, y) in itertools.combinations(enumerate(self.trial.names), 2):
            if self.matches(lambda args, j=j, k=k: {j: args[k], k: args[j]}):
                return f"{self.subject} is what comes out with {x} and {y} exchanged."
        return None

    def off_by_one(self):
        for (k, name), step in itertools.product(enumerate(self.trial.names), (1, -1)):
            change = lambda args, k=k, step=step: (  # noqa: E731
                {k: args[k] + step} if _is_index(args[k]) else {}
            )
            if _is_index(self.inputs(0, k)) and self.matches(change):
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
            found += [value.flatten()] if value is not None and i in self.wrong else []
        values = torch.cat(found) if found else torch.zeros(0)
        return len(values) == 1 or len(values.unique()) > 1  # the same number always tells nothing

    def rounding(self):
        pairs = [(self.expected[i], self.got[i]) for i in self.wrong]
        worst = [float((g - e).abs().max()) for e, g in pairs]
        small = (w < 1e-3 * float(e.abs().max()) for w, (e, _) in zip(worst, pairs))  # not nan
        if self.whole or not all(small):
            return None
        said = f"is close: the largest difference is {max(worst):.1e}, more than rounding makes"
        return f"{self.subject} {said}. Look for low precision, or a small number added."

    def random(self):
        for i in self.cases:
            new = self.both(i, seed=1)
            if new and self.near(self.expected[i], new[0]) and not self.near(self.got[i], new[1]):
                use = ": ".join(filter(None, ("Use what is handed in", " or ".join(self.unused()))))
                said = "draws random numbers of its own: it changes while its inputs do not"
                return f"{self.subject} {said}. {use}."
        return None

    def ignored(self):
        names = self.unused()
        return names and f"{self.subject} does not change when {' or '.join(names)} changes."

    def unused(self):
        """The names of inputs that should make a difference and do not."""
        names = enumerate(self.trial.names)
        follows = {name: {self.follows(i, k) for i in self.cases} for k, name in names}
        return [name for name, found in follows.items() if False in found and True not in found]

    def follows(self, i, k):
        """True if the answer follows input k of case i where the reference does; None: unknown.

        One change is not enough: a normalised answer is the same for an input that is scaled.
        """
        found = None
        for value in self.alternatives(i, k):
            pair = self.both(i, {k: value})
            if pair and not self.near(self.expected[i], pair[0]):
                if not self.near(self.got[i], pair[1]):
                    return True
                found = False
        return found

    def alternatives(self, i, k):
        """Other values for input k of case i: changed ones, then those of other cases."""
        value = self.inputs(i, k)
        if _is_index(value):
            yield abs(value - 1)  # 0 becomes 1
        elif isinstance(value, (float, torch.Tensor)):
            yield value * 1.3 + 0.1
            if isinstance(value, torch.Tensor) and value.numel() > 1:
                uneven = torch.linspace(1.1, 1.9, value.numel(), device=value.device)
                yield value * uneven.view_as(value)
        if value is not None:
            yield from (self.inputs(j, k) for j in self.cases if j != i)

    def first_only(self):
        masks = self.masks().values()
        first = masks and all(bool(m[0]) and not m[1:].any() for m in masks)
        return "Only the first picture of a batch is right." if first else None

    def masks(self):
        """For each case of more than one picture: which of them are right [B]."""
        found = {}
        for i, (e, g) in enumerate(zip(self.expected, self.got)):
            inputs = [a for a in self.trial.inputs(i) if isinstance(a, torch.Tensor) and a.dim()]
            batches = {len(a) for a in inputs if a.dim() > 1 or _is_index(a)}
            if isinstance(self.raw[i][0], torch.Tensor) and e.dim() and 1 < len(e) in batches:
                found[i] = torch.tensor([self.near(x, y) for x, y in zip(e, g)])
        return found

    def rule(self, said, rule):
        """`said` with the name of the input [B] that obeys rule(input) == mask in all cases."""
        masks = self.masks()
        if not any(masks[i].any() for i in masks if i in self.wrong):
            return None
        for k, name in enumerate(self.trial.names):
            values = [(self.inputs(i, k), mask) for i, mask in masks.items()]
            fit = (isinstance(v, torch.Tensor) and v.shape == m.shape for v, m in values)
            if all(fit) and all(torch.equal(rule(v), m) for v, m in values):
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
            said = relation(c, d) if d.any() else None
            worst = int((c - d).abs().argmax())
            numbers = f"by {d[worst]:.4g} where {c[worst]:.4g} is expected"
            wrong.append(f"{name} is multiplied {f'by {said} ({numbers})' if said else numbers}")
        if wrong:
            also = f" What you do with {' and '.join(right)} is right." if right else ""
            return f"{'; '.join(wrong)}.{also}"
        return alone and f"With {' or '.join(alone)} set to 0 it is right: look at that term."

    def factors(self, i, k):
        """Input k's right factors, the answer's, and whether all else is right; None: no term."""
        x, e = self.inputs(i, k), self.expected[i]
        term = isinstance(x, torch.Tensor) and x.is_floating_point()
        pair = self.both(i, {k: torch.zeros_like(x)}) if term else None
        if pair is None or pair[0].shape != e.shape:
            return None
        others = [a for j, a in enumerate(self.trial.inputs(i)) if j != k]
        rest = any(isinstance(a, torch.Tensor) for a in others) and self.near(*pair)
        rest = rest and len(pair[0].unique()) > 1 and bool(pair[0].isfinite().all())
        if x.shape != e.shape:
            return None, None, rest
        terms = e - pair[0], self.got[i] - pair[1]
        return *(factor(term, wide(x)) for term in terms), rest
