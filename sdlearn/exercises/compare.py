"""Comparing an answer with what is expected: its kind, shape and numbers (used by the engine)."""

import math
import numbers

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


def kind(value):
    """What a value is, in words."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
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


def mismatch(expected, got, what="Your answer", parts=()):
    """A sentence about the first difference in kind, number, shape, dtype, device; None if none."""
    if isinstance(expected, torch.Tensor):
        return _tensor_mismatch(expected, got, what)
    if isinstance(expected, (tuple, list, dict)):
        form = dict if isinstance(expected, dict) else (tuple, list)
        due = f"{len(expected)} values are expected: {', '.join(parts or map(kind, expected))}."
        if form is dict:
            parts, due = list(map(repr, expected)), f"a dict of {list(expected)} is expected."
        if not isinstance(got, form):
            return f"{what} is {kind(got)}; {due}"
        if len(got) != len(expected) or (form is dict and set(got) != set(expected)):
            has = f"the keys {list(got)}" if form is dict else f"{len(got)} values"
            return f"{what} has {has}; {due}"
        keys = expected if form is dict else range(len(expected))
        names = parts or [f"value {key + 1}" for key in keys]
        found = (mismatch(expected[k], got[k], f"{what}'s {n}") for k, n in zip(keys, names))
        return next(filter(None, found), None)
    kinds = {float: numbers.Real, int: numbers.Integral}.get(type(expected), type(expected))
    if isinstance(expected, float) and isinstance(got, torch.Tensor) and not got.dim():
        return None
    if isinstance(got, kinds) and isinstance(got, bool) == isinstance(expected, bool):
        return None
    more = _COMMA if isinstance(got, (tuple, list)) and len(got) == 1 else ""
    if isinstance(got, torch.Tensor) and got.numel() == 1:
        more = " A tensor's .item() is a plain number."
    if isinstance(expected, int) and isinstance(got, float) and abs(got - expected) < 1:
        more = " Division with // keeps whole numbers whole."
    return f"{what} is {kind(got)}; one {type(expected).__name__} is expected.{more}"


def _tensor_mismatch(expected, got, what):
    if not isinstance(got, torch.Tensor):
        more = ""
        if isinstance(got, numbers.Number) or hasattr(got, "__array__"):
            more = " Stay with torch: no .numpy(), .item(), .tolist() or float() on the way."
        if isinstance(got, (tuple, list)):
            more = _COMMA if len(got) == 1 else " Return one tensor."
        return f"{what} is {kind(got)}; {kind(expected)} is expected.{more}"
    if got.shape != expected.shape:
        e, g = list(expected.shape), list(got.shape)
        return f"{what} has shape {g}; {e} is expected.{_shape_advice(e, g)}"
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


def _shape_advice(e, g):
    """What the expected shape e and the given one tell about the cause, as a further sentence."""
    if not e:
        return " One number is expected: a mean or a sum over everything is missing."
    if sorted(e) == sorted(g):
        return " The same sizes in another order: it looks transposed."
    if g == e[1:]:
        return f" The first dimension, the batch of {e[0]}, is missing."
    if [n for n in e if n > 1] == [n for n in g if n > 1]:
        return " Only dimensions of size 1 differ: look for squeeze, unsqueeze, view or keepdim."
    if math.prod(e) == math.prod(g):
        return " The number of elements is right: look for view, reshape or flatten."
    if len(g) < len(e):
        return " Dimensions are missing: a mean or a sum goes over too much, or an index picks one."
    if math.prod(g) > math.prod(e) and (len(g) > len(e) or e[0] in g[1:]):
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
        return torch.allclose(wide(got), wide(expected), rtol=rtol, atol=atol, equal_nan=True)
    try:
        return bool(expected == got)
    except Exception:  # whatever a student's own object raises
        return False


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
    except (TypeError, ValueError, RuntimeError):
        return None


def fits(e, g):
    """True if numbers are equal to three digits, as far as noise in the small ones lets us see."""
    scale = float(g.abs().max()) if g.numel() else 0.0
    return torch.allclose(g, e, rtol=1e-3, atol=1e-5 * scale)


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
    if torch.allclose(e + shift, g, rtol=0, atol=1e-3 * abs(shift)):
        return f"what it should be plus {shift:.4g}"
    low, high = float(g.min()), float(g.max())
    if ends and high - low > 0.01 * abs(high) and fits(e.clamp(low, high), g):
        cuts = f"{low:.4g} below" * bool(e.min() < low), f"{high:.4g} above" * bool(e.max() > high)
        return f"cut off at {' and '.join(filter(None, cuts))}, as by a clamp"
    return None


def factor(term, x):
    """For each picture the c [B] with term = c x, or None if there is no such factor."""
    term, x = (v.reshape(len(v) if v.dim() > 1 else 1, -1) for v in (term, x))
    c = (term * x).sum(1) / (x * x).sum(1)
    return c if torch.allclose(c[:, None] * x, term, rtol=1e-3, atol=1e-5) else None
