"""Running an answer safely: in time, on fresh inputs, without traces (used by the engine)."""

import contextlib
import contextvars
import copy
import ctypes
import inspect
import io
import itertools
import linecache
import random
import threading
import time
import traceback

import numpy as np
import torch

from .compare import SIZE_ADVICE


class Trouble(Exception):
    """An answer that could not be run to its end; the message is for the student."""


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
        self.printed, self.damaged = Printed(), {}  # a dict: ordered, each once
        reseed(0)
        cases = list(exercise.cases())
        self.labels = [case.label or f"number {i + 1}" for i, case in enumerate(cases)]
        self.names = _input_names(exercise, max(len(case.args) for case in cases))

    def inputs(self, i, change=None):
        """Fresh arguments of case i. change: {position: value} to put in their place."""
        reseed(0)
        args = list(next(itertools.islice(self.exercise.cases(), i, None)).args)
        for k, value in (change or {}).items():
            args[k] = value
        return args

    def call(self, who, i, change=None, seed=0):
        """The value of `who` on case i. For the student's answer raises Trouble."""
        args = self.inputs(i, change)
        run = self.exercise.run or (lambda answer, *args: answer(*args))
        if who is not self.answer:
            reseed(seed)
            return run(who, *args)
        before = snapshot(args)
        limit = min(self.exercise.seconds, self.end - time.monotonic())
        if limit <= 0:
            raise Trouble(f"Your code took more than {self.exercise.total:g} seconds in all.")
        reseed(seed)
        with contextlib.redirect_stdout(self.printed), contextlib.redirect_stderr(self.printed):
            value = limited(lambda: run(who, *args), limit, who)
        after = snapshot(args)
        if change is None:
            for path in before | after:
                allowed = self.names[path[0]] in self.exercise.changes
                if not allowed and not _same(before, after, path):
                    self.damaged.setdefault(self.path(path))
        return value

    def path(self, path):
        """Where a leaf of the arguments is, as the student would write it."""
        inner = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in path[1:])
        return self.names[path[0]] + "".join(inner)


def _input_names(exercise, count):
    """The names of an exercise's inputs, for messages."""
    parameters = inspect.signature(exercise.run or exercise.reference).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = names[1:] if exercise.run else names
    return names[:count] + [f"input {k + 1}" for k in range(len(names), count)]


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
    cuda = torch.cuda.is_initialized()
    saved = random.getstate(), np.random.get_state(), torch.get_rng_state()
    saved_cuda = torch.cuda.get_rng_state_all() if cuda else None
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        torch.set_rng_state(saved[2])
        if cuda:
            torch.cuda.set_rng_state_all(saved_cuda)


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
    """The leaves of the arguments, copied."""
    return {
        path: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else copy.copy(leaf)
        for path, leaf in leaves(args).items()
    }


def _same(before, after, path):
    """True if nothing at `path` changed between two snapshots (NaN is equal to NaN)."""
    a, b = before.get(path), after.get(path)
    if not hasattr(a, "shape") or getattr(a, "shape", None) != getattr(b, "shape", None):
        return type(a) is type(b) and not hasattr(a, "shape") and a == b
    return a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())


def limited(function, seconds, answer):
    """function() in a thread of its own, which is stopped after `seconds`.

    Raises Trouble with a message for the student if it raises or takes too long. KeyboardInterrupt
    gets through: this thread only waits, in small steps, because Windows cannot break a long wait.
    """
    result = {}
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

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True)
    end = time.monotonic() + seconds
    try:
        thread.start()
        while thread.is_alive() and time.monotonic() < end:
            thread.join(0.05)
    finally:
        ended = _stop(thread)
    if "value" in result:
        return result["value"]
    if isinstance(result.get("error", Stopped()), Stopped):
        raise Trouble(
            f"Your code was still running after {seconds:.3g} seconds. Is there a loop that never "
            "ends, or one over pictures or pixels that a tensor operation could do at once?"
            + ("" if ended else " It still runs: restart the kernel to end it.")
        )
    return _raised(result["error"], answer)


def _stop(thread):
    """Raise Stopped inside a thread until it ends, for a second at most. True if it ended."""
    for _ in range(20):
        if not thread.is_alive():
            return True
        target = ctypes.c_ulong(thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(Stopped))
        thread.join(0.05)
    return not thread.is_alive()


def _raised(error, answer):
    """`...` if the answer raised NotImplementedError itself; raises Trouble for all else."""
    functions = [answer, *vars(answer).values()] if inspect.isclass(answer) else [answer]
    files = {f.__code__.co_filename for f in functions if hasattr(f, "__code__")}
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename in files]
    line = linecache.getline(theirs[-1].filename, theirs[-1].lineno).strip() if theirs else ""
    if isinstance(error, NotImplementedError):
        unwritten = bool(frames) and frames[-1].name == "_forward_unimplemented"
        own = theirs and frames[-1] is theirs[-1] and ("raise" in line or not line)
        if unwritten or own:
            return ...
    first = (str(error).strip().splitlines() or ["(no message)"])[0]
    message = f"Your code stopped with {type(error).__name__}: {first}"
    if theirs:
        message += f"\n  line {theirs[-1].lineno} of your cell:  {line}"
    if "must match the size of tensor" in first:
        message += f"\n{SIZE_ADVICE}"
    raise Trouble(message)
