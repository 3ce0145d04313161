"""Running an answer safely: in time, on fresh inputs, without traces (used by the engine)."""

import contextlib
import contextvars
import ctypes
import inspect
import io
import itertools
import linecache
import random
import re
import threading
import time
import traceback

import numpy as np
import torch

from .compare import Refused, batch_advice

# What an exception's message says about the cause, for students.
ADVICE = {
    "Boolean value of Tensor|only one element tensors|converted to Scalar": "That holds many "
    "numbers, such as one for each picture. Python's if, int(), float() and math take a single "
    "one; torch's operations take all at once, torch.where chooses for each.",
    "step must be greater than zero": "No tensor is turned round by [::-1]: write .flip(0).",
    r"bitwise_xor|for \^": "In Python ^ is no power: write **.",
    "must be Tensor, not (int|float)": "A plain number, such as a size, is for math.sqrt and the "
    "like; torch's functions take tensors.",
    "without overflow": "That number is complex: take .real.",
    "return_types": "This gives numbers and their places together: take .values.",
    r"mean\(\): .*(Bool|Long|Int)": "Of bools and whole numbers there is no mean: .double() first.",
    "'method'|builtin_function_or_method": "The brackets of a call are missing.",
}


class Trouble(Exception):
    """An answer that could not be run to its end: a message for the student, perhaps advice."""


class Stopped(SystemExit):
    """Raised inside an answer that ran out of time (threads end silently on a SystemExit)."""


class Printed(io.TextIOBase):
    """Keeps the beginning of what an answer prints: an endless loop may print without end."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text[: max(0, 2000 - len(self.text))]
        return len(text)


class Trial:
    """One check of an answer: runs it, the reference and the mistakes on the exercise's cases."""

    def __init__(self, exercise, answer):
        self.exercise, self.answer = exercise, answer
        self.end = time.monotonic() + exercise.total
        self.printed = Printed()
        self.damaged = {}  # what an answer changes → whether it is a list's entry
        reseed(0)
        cases = list(exercise.cases())
        self.labels = [case.label or f"number {i + 1}" for i, case in enumerate(cases)]
        count = max(len(case.args) for case in cases)
        names = list(inspect.signature(exercise.run or exercise.reference).parameters)
        names = names[1 if exercise.run else 0 :][:count]  # the first of `run` is the answer
        self.names = names + [f"input {k + 1}" for k in range(len(names), count)]

    def inputs(self, i, change=None):
        """Fresh arguments of case i. change: {position: value} to put in their place."""
        reseed(0)
        args = list(next(itertools.islice(self.exercise.cases(), i, None)).args)
        return [(change or {}).get(k, value) for k, value in enumerate(args)]

    def call(self, who, i, change=None, seed=0):
        """The value of `who` on case i. For the student's answer raises Trouble."""
        args = self.inputs(i, change)
        as_is = self.exercise.run or (lambda answer, *args: answer(*args))

        def run(who, *args):
            try:
                return as_is(who, *args)
            except self.exercise.refuses as error:
                return Refused(type(error).__name__, str(error))

        if who is not self.answer:
            reseed(seed)
            return run(who, *args)
        before = snapshot(args)
        limit = min(self.exercise.seconds, self.end - time.monotonic())
        if limit <= 0:
            raise Trouble(f"Your code took more than {self.exercise.total:g} seconds in all.")
        reseed(seed)
        with contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.printed):
            inputs, advice = dict(zip(self.names, args)), self.exercise.advice
            value = limited(lambda: run(who, *args), limit, who, inputs, advice)
        after = snapshot(args)
        for path in before | after if change is None else ():
            name, old, new = self.names[path[0]], before.get(path), after.get(path)
            if name not in self.exercise.changes and old != new:
                inner = (f"[{k}]" if isinstance(k, int) else f".{k}" for k in path[1:])
                listed = isinstance(path[-1], int) and len(path) > 1
                entry = listed and (isinstance(new, str) or None in (old, new))
                self.damaged.setdefault(name + "".join(inner), entry)
        return value


def reseed(seed):
    """Seed every generator, without starting CUDA where it is not in use."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextlib.contextmanager
def kept_random():
    """Puts all random states back at the end: a check must not change the notebook's numbers."""
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    saved = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(cuda):
        try:
            yield
        finally:
            random.setstate(saved[0])
            np.random.set_state(saved[1])


def leaves(args):
    """All that an answer might damage: {(position, attribute, …): tensor, array, number or text}.

    Looks inside lists, dicts and objects such as a NoiseSchedule, and into modules' weights.
    """
    found, seen = {}, set()

    def walk(value, path):
        if isinstance(value, (torch.Tensor, np.ndarray, int, float, str)):
            found[path] = value
        elif id(value) not in seen and len(path) < 6:
            seen.add(id(value))
            if isinstance(value, torch.nn.Module):
                value = value.state_dict()
            elif not isinstance(value, (list, tuple, dict)):
                value = {} if callable(value) else getattr(value, "__dict__", {})
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                walk(item, (*path, key))

    walk(list(args), ())
    return found


def snapshot(args):
    """The leaves of the arguments as they are now, to be compared with == (NaN is equal to NaN)."""

    def frozen(leaf):
        if isinstance(leaf, torch.Tensor):
            leaf, kind = leaf.detach().cpu().reshape(-1), (leaf.dtype, leaf.shape)
            return kind, leaf.view(torch.uint8).numpy().tobytes() if leaf.numel() else b""
        return (leaf.shape, leaf.tobytes()) if isinstance(leaf, np.ndarray) else repr(leaf)

    return {path: frozen(leaf) for path, leaf in leaves(args).items()}


def limited(function, seconds, answer, inputs=None, advice=None):
    """function() in a thread of its own, which is stopped after `seconds`. inputs: name → value.

    advice: as ADVICE, and before it.

    Raises Trouble with a message for the student if it raises or takes too long. KeyboardInterrupt
    gets through: this thread only waits, in small steps, because Windows cannot break a long wait.
    """
    result, done = {}, threading.Event()
    # Threads begin with torch's settings at their defaults; the answer must see the notebook's.
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    device = torch.get_default_device()
    home = contextlib.nullcontext() if device.type == "cpu" else device

    def work():
        try:
            with torch.inference_mode(inference), torch.set_grad_enabled(grad), home:
                result["value"] = function()
        except BaseException as error:
            result["error"] = error
        finally:
            done.set()

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True)
    end = time.monotonic() + seconds
    try:
        thread.start()
        while not done.wait(0.05) and time.monotonic() < end:
            pass
    finally:
        ended = _stop(thread, done)
    if "value" in result:
        return result["value"]
    if isinstance(result.get("error", Stopped()), Stopped):
        raise Trouble(
            f"Your code was still running after {seconds:.3g} seconds. Is there a loop that never "
            "ends, or one over pictures or pixels that a tensor operation could do at once?"
            + ("" if ended else " It still runs: restart the kernel to end it.")
        )
    return _raised(result["error"], answer, inputs or {}, {**(advice or {}), **ADVICE})


def _stop(thread, done):
    """Raise Stopped inside a thread until it is done, for a second at most. True if it is.

    Python 3.11 takes a thread for ended if its join() is interrupted (bpo-45274): hence the event.
    """
    for _ in range(20):
        if done.is_set() or thread.ident is None:
            return True
        target = ctypes.c_ulong(thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(Stopped))
        done.wait(0.05)
    return done.is_set()


def _raised(error, answer, inputs, advice):
    """`...` if the answer raised NotImplementedError itself; raises Trouble for all else."""
    functions = [answer, *vars(answer).values()] if inspect.isclass(answer) else [answer]
    files = {f.__code__.co_filename for f in functions if hasattr(f, "__code__")}
    frames = list(traceback.walk_tb(error.__traceback__))
    codes = [frame.f_code for frame, _ in frames]
    last = max((i for i, code in enumerate(codes) if code.co_filename in files), default=None)
    number = frames[last][1] if last is not None else 0
    line = linecache.getline(codes[last].co_filename, number).strip() if number else ""
    if isinstance(error, NotImplementedError):
        own = last == len(frames) - 1 and ("raise" in line or not line)
        if own or codes[-1].co_name == "_forward_unimplemented":
            return ...
    first = re.sub(r"\S*<locals>\.", "", str(error)).strip().split("\n")[0] or "(no message)"
    message = f"Your code stopped with {type(error).__name__}: {first}"
    if number:
        message += f"\n  line {number} of your cell:  {line}"
        for frame, _ in frames[last + 1 : last + 2]:
            code = frame.f_code
            inside = f"{code.co_name}({', '.join(code.co_varnames[: code.co_argcount])})"
            if str(frame.f_globals.get("__name__")).startswith("sdlearn."):
                message += f"\n  raised inside {inside}, which it calls"
    shapes = {n: list(v.shape) for n, v in inputs.items() if isinstance(v, torch.Tensor)}
    if shapes and re.search("size|shape|imension|columns", first):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        message += f"\n  The shapes of the inputs are {listed}."
    found = (said for part, said in advice.items() if re.search(part, first))
    raise Trouble(message, next(found, "") or _size_advice(first, list(shapes.values())))


def _size_advice(first, shapes):
    """Advice about one number for each picture that met the pictures' last axis, or ""."""
    sizes = re.search(r"tensor a \((\d+)\) must .* tensor b \((\d+)\) .* dimension (\d+)", first)
    a, b, axis = map(int, sizes.groups()) if sizes else (0, 0, 0)
    for shape in shapes:
        if axis and len(shape) == axis + 1 and {a, b} == {shape[0], shape[-1]}:
            return batch_advice(shape) if shape[:1] in shapes else ""
    return ""
