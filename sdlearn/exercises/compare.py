"""Comparing an answer with what is expected: its kind, shape and numbers (used by the engine)."""

import math
import numbers
from dataclasses import dataclass, field

import torch

_COMMA = " Is there a stray comma at the end of the return line?"

# What an answer, or a factor c in it, may be in place of what it should be.
RELATIONS = [
    ("minus what it should be: check the sign", torch.neg),
    (
        "the square of what it should be: a square root is missing, or a square too many",
        torch.square,
    ),
    ("the square root of what it should be: a square is missing, or a root too many", torch.sqrt),
    ("one divided by what it should be: multiply where you divide", torch.reciprocal),
    ("1 minus what it should be", lambda e: 1 - e),
    ("√(1-c²) where c is expected, the factor of another term", lambda e: (1 - e * e).sqrt()),
    ("1-c² where c is expected, the square of another term's factor", lambda e: 1 - e * e),
    ("the logarithm of what it should be", torch.log),
    ("the exponential of what it should be", torch.exp),
    ("what it should be without its sign (an absolute value)", torch.abs),
]


@dataclass(frozen=True)
class Refused:
    """Stands for the value of a call that raised the exception by which arguments are refused."""

    name: str = "ValueError"
    said: str = field(default="", compare=False)


def kind(value):
    """What a value is, in words."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if hasattr(type(value), "_fields"):
        return f"a {type(value).__name__}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} value{'s' * (len(value) != 1)}"
    if isinstance(value, (numbers.Number, str)):
        return f"the {type(value).__name__} {str(value)[:40]!r}".replace("'", "")
    names = {
        "NoneType": "None (is a return missing?)",
        "ellipsis": "... (is a part still to be written?)",
        "ndarray": "a numpy array",
        "generator": "a generator (yield where return belongs, or brackets where a sum does?)",
    }
    if callable(value):
        return "a function or class (are the brackets of a call missing?)"
    return names.get(type(value).__name__, f"of the type {type(value).__name__}")


def shown(value):
    """A value in few words: numbers and lists as they are, a named tuple by its own line."""
    if not isinstance(value, (numbers.Number, str, tuple, list)):
        return kind(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value if hasattr(type(value), '_fields') else repr(value)!s:.200}"


def mismatch(expected, got, what="Your answer", parts=(), batches=()):
    """A sentence about the first difference in kind, number, shape, dtype, device; None if none.

    parts: names of a tuple's values. batches: sizes B of which there is an input of shape [B].
    """
    if isinstance(got, Refused) and not isinstance(expected, Refused):
        said = got.said and f" It says: {got.said:.100}"
        return f"Your code raises a {got.name} where {shown(expected)} is right.{said}"
    if isinstance(expected, Refused):
        if isinstance(got, Exception) or (isinstance(got, type) and issubclass(got, Exception)):
            return f"The {expected.name} is returned, and stops nothing: raise {expected.name}(…)"
        due = f"A {expected.name} is expected here; what your code returns is {shown(got)}."
        return None if isinstance(got, Refused) else due
    if isinstance(expected, torch.Tensor):
        return _tensor_mismatch(expected, got, what, batches)
    if isinstance(expected, (tuple, list, dict)):
        form = dict if isinstance(expected, dict) else (tuple, list)
        several = len(expected) != 1
        due = f"{len(expected)} value{'s are' if several else ' is'} expected"
        due = f"{due}: {', '.join(parts or map(kind, expected))}."
        named = getattr(type(expected), "_fields", ())
        if named:
            parts = named
            given = [name for name, value in zip(named, expected) if value is not None]
            due = f"{kind(expected)} is expected: {type(expected).__name__}({', '.join(given)})."
        if form is dict:
            parts, due = list(map(repr, expected)), f"a dict of {list(expected)} is expected."
        one = hasattr(type(got), "_fields") and not named
        if not isinstance(got, form) or (one and len(got) != len(expected)):
            return f"{what} is {kind(got)}; {due}"
        if len(got) != len(expected) or (form is dict and set(got) != set(expected)):
            many = f"{len(got)} value{'s' * (len(got) != 1)}"
            has = f"the keys {list(got)}" if form is dict else many
            return f"{what} has {has}; {due}"
        keys = expected if form is dict else range(len(expected))
        names = parts or [f"value {key + 1}" for key in keys]
        found = (
            mismatch(expected[k], got[k], f"{what}'s {n}", batches=batches)
            for k, n in zip(keys, names)
        )
        return next(filter(None, found), None)
    kinds = {float: numbers.Real, int: numbers.Integral}.get(type(expected), type(expected))
    if isinstance(got, kinds) and isinstance(got, bool) == isinstance(expected, bool):
        return _not_finite(expected, got, what) if isinstance(expected, float) else None
    more = _COMMA if isinstance(got, (tuple, list)) and len(got) == 1 else ""
    if isinstance(got, torch.Tensor) and got.numel() == 1:
        more = " A tensor's .item() is a plain number."
    if isinstance(expected, int) and isinstance(got, float) and abs(got - expected) < 1:
        more = " int() makes a whole number; // gives one if both sides are whole."
    if isinstance(expected, (int, float)) and _complex(got):
        return f"{what} is complex; take .real."
    due = "None" if expected is None else f"one {type(expected).__name__}"
    return f"{what} is {kind(got)}; {due} is expected.{more}"


def _not_finite(expected, got, what):
    """A sentence about a number that is NaN or infinite where it should not be, or None."""
    if got != got and not math.isnan(expected):
        return f"{what} is nan: a root or logarithm of a negative number, or 0 divided by 0?"
    if got in (math.inf, -math.inf) and got != expected:
        return f"{what} is {got}: a division by zero?"
    return None


def _complex(value):
    """True for complex numbers and tensors of them."""
    if isinstance(value, torch.Tensor):
        return value.is_complex()
    return isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)


def _tensor_mismatch(expected, got, what, batches):
    if not isinstance(got, torch.Tensor):
        more = ""
        if isinstance(got, numbers.Number) or hasattr(got, "__array__"):
            more = " Stay with torch: no .numpy(), .item(), .tolist() or float() on the way."
        if isinstance(got, (tuple, list)):
            more = _COMMA if len(got) == 1 else " Return one tensor."
        return f"{what} is {kind(got)}; {kind(expected)} is expected.{more}"
    if got.shape != expected.shape:
        e, g = list(expected.shape), list(got.shape)
        return f"{what} has shape {g}; {e} is expected.{_shape_advice(e, g, batches)}"
    if got.is_complex() and not expected.is_complex():
        return f"{what} is complex; take .real."
    if got.dtype != expected.dtype:
        return f"{what} has dtype {got.dtype}; {expected.dtype} is expected."
    if got.device != expected.device:
        return f"{what} is on the device {got.device}; the inputs are on {expected.device}."
    tests = {"NaN": torch.isnan, "infinite": torch.isinf}
    bad = {word: int((test(got) & ~test(expected)).sum()) for word, test in tests.items()}
    if any(bad.values()):
        said = " and ".join(f"{word} in {count}" for word, count in bad.items() if count)
        more = "look for a division by zero, or a root or logarithm of less than zero."
        return f"{what} is {said} of {got.numel()} numbers: {more}"
    if expected.requires_grad and not got.requires_grad:
        return f"{what} is cut off from its gradient: leave out .detach(), .item() and no_grad()."
    return None


def _shape_advice(e, g, batches):
    """What the expected shape e and the given one tell about the cause, as a further sentence."""
    if not e:
        return " One number is expected: a mean or a sum over everything is missing."
    if sorted(e) == sorted(g):
        return " The same sizes in another order: it looks transposed."
    if g == e[1:]:
        name = "the batch of" if e[0] in batches else "of size"
        return f" The first dimension, {name} {e[0]}, is missing."
    if [n for n in e if n > 1] == [n for n in g if n > 1]:
        return " Only dimensions of size 1 differ: look for squeeze, unsqueeze, view or keepdim."
    if math.prod(e) == math.prod(g):
        return " The number of elements is right: look for view, reshape or flatten."
    if len(g) < len(e):
        return " Dimensions are missing: a mean or a sum goes over too much, or an index picks one."
    if e[0] in batches and math.prod(g) > math.prod(e) and (len(g) > len(e) or e[0] in g[1:]):
        return f" It has grown, as if broadcast over the wrong axis. {batch_advice(e)}".rstrip()
    return ""


def batch_advice(shape):
    """How one number for each picture has to be shaped to go with a batch of this shape."""
    ones = [1] * (len(shape) - 1)
    view = f"{list(shape)}: .view({', '.join(map(str, [-1, *ones]))})"
    single = f"One number for each, shape [{shape[0]}], needs the shape {[shape[0], *ones]}"
    return f"{single} to go with {view}." if ones else ""


def close(expected, got, rtol, atol):
    """True if two values of matching kinds are equal up to rounding (whole numbers: exactly)."""
    if isinstance(expected, (tuple, list, dict)):
        keys = expected if isinstance(expected, dict) else range(len(expected))
        return all(close(expected[k], got[k], rtol, atol) for k in keys)
    if isinstance(expected, (torch.Tensor, float)):
        rtol, atol = (0, 0) if whole(expected) else (rtol, atol)
        return near(wide(expected), numeric(got), rtol, atol)
    try:
        return bool(expected == got)
    except Exception:  # whatever a student's own object raises
        return False


def near(e, g, rtol, atol):
    """True if tensors that `numeric` made are of one shape and equal up to rounding."""
    if g is None or e.dtype != g.dtype or e.shape != g.shape:
        return False
    return torch.allclose(g, e, rtol=rtol, atol=atol, equal_nan=True)


def whole(value):
    """True for whole numbers, lists and tensors of them."""
    if isinstance(value, (tuple, list)):
        return all(map(whole, value))
    if isinstance(value, torch.Tensor):
        return not (value.is_floating_point() or value.is_complex())
    return isinstance(value, numbers.Integral)


def wide(value):
    """A tensor or number in double precision, on the CPU."""
    value = torch.as_tensor(value).detach().cpu()
    return value.to(torch.complex128 if value.is_complex() else torch.float64)


def numeric(value):
    """Numbers, lists of numbers and tensors as a double tensor; None for anything else."""
    try:
        if isinstance(value, (list, tuple)):
            return torch.stack([wide(one) for one in value])
        return None if isinstance(value, str) else wide(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def fits(e, g):
    """True if numbers are equal to three digits, as far as noise in the small ones lets us see."""
    scale = float(g.abs().max()) if g.numel() else 0.0
    return math.isfinite(scale) and near(e, g, 1e-3, 1e-5 * scale)


def relation(e, g, ends=False):
    """How numbers g come from the right ones e, if one usual slip explains them (ends: a clamp)."""
    if len(e.unique()) < 2:
        return None
    holds = [said for said, function in RELATIONS if fits(function(e), g)]
    if not holds and torch.equal(e.sign(), g.sign()):  # the size may be off with the sign kept
        holds = [said for said, function in RELATIONS if fits(function(e.abs()), g.abs())]
    if holds:
        return holds[0] if len(holds) == 1 else None
    ratio, shift = float((e * g).sum() / (e * e).sum()), float((g - e).mean())
    if fits(ratio * e, g):
        return f"{ratio:.4g} times what it should be"
    if math.isfinite(shift) and near(e + shift, g, 0, 1e-3 * abs(shift)):
        return f"what it should be plus {shift:.4g}"
    low, high = float(g.min()), float(g.max())
    ends = ends and len(e.unique()) > 2  # any two numbers look cut off
    if ends and high - low > 0.01 * abs(high) and fits(e.clamp(low, high), g):
        cuts = f"{low:.4g} below" * bool(e.min() < low), f"{high:.4g} above" * bool(e.max() > high)
        return f"cut off at {' and '.join(filter(None, cuts))}, as by a clamp"
    return None


def factor(term, x):
    """For each picture the c [B] with term = c x, or None if there is no such factor."""
    term, x = (v.reshape(len(v) if v.dim() > 1 else 1, -1) for v in (term, x))
    c = (term * x).sum(1) / (x * x).sum(1)
    return c if torch.allclose(c[:, None] * x, term, rtol=1e-3, atol=1e-5) else None
