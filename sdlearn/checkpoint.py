"""Checkpoints of `train`: one file that is whole at any moment, and that says when it does not fit.

A `.safetensors` file: the tensors model.*, ema.*, optimiser.* and losses; in its header, as JSON,
the step and the settings. No pickle, so opening a stranger's checkpoint runs nothing.
"""

import contextlib
import json
import os
import signal
import threading
import zlib

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


class CheckpointError(ValueError):
    """A checkpoint that training cannot go on from; the message says why, and what to do."""


def write(path, tensors, metadata):
    """A .safetensors file, all of it or nothing: whenever this is killed, the old file is whole.

    Written under another name first, then renamed, which no system does by halves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    # Copies, because the format refuses tensors that share memory.
    tensors = {name: x.detach().to("cpu", copy=True).contiguous() for name, x in tensors.items()}
    save_file(tensors, beside, metadata)
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())  # on the disk before the name is
    os.replace(beside, path)


def checksum(text, tensors):
    """One number, as text, that changes with any byte of them."""
    total = zlib.crc32(text.encode())
    for name in sorted(tensors):
        x = tensors[name].detach().cpu().contiguous()
        total = zlib.crc32(x.reshape(-1).view(torch.uint8).numpy(), total)
    return str(total)


def module_tensors(module):
    """Parameters and buffers by name, shared ones once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def described(run):
    """The settings that must be the same when a run goes on, as JSON would give them back."""
    settings = {**run.about, **vars(run.settings), "pictures": run.count}
    settings["accumulate"] *= run.world  # two devices continue what one began with twice as many
    return json.loads(json.dumps(settings))


def save(run):
    """Write the run's checkpoint (in one process, if there are several)."""
    if run.rank:
        return
    tensors = {"losses": torch.tensor(run.losses, dtype=torch.float64)}
    for what, module in (("model", run.model), ("ema", run.ema)):
        tensors |= {f"{what}.{name}": x for name, x in module_tensors(module).items()}
    for number, state in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": x for name, x in state.items()}
    notes = {"step": run.step, "seconds": run.seconds, "parts": run.parts}
    notes |= {"settings": described(run), "scaler": run.scaler.state_dict()}
    text = json.dumps(notes)
    write(run.path, tensors, {"run": text, "checksum": checksum(text, tensors)})
    run.saved = run.step


def read(path):
    """A checkpoint's notes and tensors. Raises CheckpointError if it is not whole."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
            # Copies: Windows does not replace a file that is still mapped into memory.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if header["checksum"] != checksum(header["run"], tensors):
            raise ValueError("its checksum is wrong")
        return json.loads(header["run"]), tensors
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or is no checkpoint of sdlearn ({error}). Delete it or train "
            "with restart=True to begin anew"
        ) from error


def load(run):
    """Put the run where its checkpoint left off. Raises CheckpointError if it is another run's."""
    notes, tensors = read(run.path)
    here, there = described(run), notes["settings"]
    names = [n for n in {**here, **there} if here.get(n) != there.get(n)]
    changed = ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)
    if changed:
        schedule = " (the learning rate's curve depends on steps)" if "steps" in names else ""
        refuse(run, f"with other settings: {changed}{schedule}")
    for what, module in (("model", run.model), ("ema", run.ema)):
        mine = module_tensors(module)
        other = {n.partition(".")[2]: x for n, x in tensors.items() if n.startswith(f"{what}.")}
        for name in [*mine, *other]:
            a, b = (list(x[name].shape) if name in x else None for x in (other, mine))
            if a != b:
                refuse(run, f"of another model: {name} is {a} there, {b} here")
        with torch.no_grad():
            for name, x in mine.items():
                x.copy_(other[name])
    state = {}
    for name, x in tensors.items():
        what, _, rest = name.partition(".")
        if what == "optimiser":
            number, _, name = rest.partition(".")
            state.setdefault(int(number), {})[name] = x
    groups = run.optimiser.state_dict()["param_groups"]
    run.optimiser.load_state_dict({"state": state, "param_groups": groups})
    if run.scaler.is_enabled() and notes["scaler"]:
        run.scaler.load_state_dict(notes["scaler"])
    run.losses, run.parts = tensors["losses"].tolist(), notes["parts"]
    run.step = run.saved = notes["step"]
    run.seconds = notes["seconds"]


def refuse(run, why):
    raise CheckpointError(
        f"{run.path} is of a run {why}. To go on, train as it was; to begin anew, give "
        "restart=True; to keep both, name another folder"
    )


@contextlib.contextmanager
def interrupt_later():
    """Hold Ctrl-C back for a moment, so that it cannot leave half a step behind."""
    names = [n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    handlers = {getattr(signal, n): signal.getsignal(getattr(signal, n)) for n in names}
    handlers = {n: handler for n, handler in handlers.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}  # Ctrl-C goes to the main thread only
    held = []
    for number in handlers:
        signal.signal(number, lambda *caught: held.append(caught))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in held:
        handlers[number](number, frame)
