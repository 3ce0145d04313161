"""The training loop: any module, any loss, one device or many (chapter 04 builds this module).

Nothing in it has to be remembered: which pictures step k sees and which random numbers it draws
follow from the seed and k. So weights, their averages and k are a whole checkpoint, and a stopped
run goes on as if it never had: on one machine's CPU with the same results, bit for bit.
"""

import contextlib
import copy
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from sdlearn import checkpoint, processes, runtime
from sdlearn.batches import batch_at, borrowed_randomness, move, seed_all, take
from sdlearn.diffusion import check_prediction, training_loss
from sdlearn.settings import Settings

CHECKPOINT = "training.safetensors"


@dataclass
class Training:
    """A run: what callbacks get to see, and what `train` returns."""

    model: nn.Module  # as trained
    ema: nn.Module  # the average of its weights over the last steps: draws the better pictures
    settings: Settings
    data: object = field(repr=False)
    loss_of: object = field(repr=False)
    path: Path | None  # of the checkpoint
    device: torch.device
    rank: int  # which process this is, of how many
    world: int
    about: dict
    count: int = 0  # pictures in the data
    parts: int = 1  # micro-batches a step, of all devices
    step: int = 0  # steps done
    losses: list = field(default_factory=list, repr=False)  # one a step
    lr: float = 0.0  # of the last step
    seconds: float = 0.0  # spent, before interruptions too
    saved: int | None = None  # the step of the checkpoint
    trained: list = field(default_factory=list, repr=False)  # parameters that need gradients
    optimiser: object = field(default=None, repr=False)
    amp: torch.dtype | None = None  # of mixed precision
    scaler: object = field(default=None, repr=False)  # keeps float16's gradients in range

    @property
    def loss(self):
        """The mean loss of the last 50 steps: one step's is mostly noise."""
        last = self.losses[-50:]
        return sum(last) / len(last) if last else math.nan

    @property
    def finished(self):
        return self.step == self.settings.steps

    @property
    def pictures_per_second(self):
        return self.step * self.settings.batch_size / self.seconds if self.seconds else 0.0

    def say(self, text):
        if self.rank == 0:
            tqdm.write(text)


def diffusion_loss(schedule, prediction="epsilon", snr_gamma=None):
    """The loss of diffusion models for `train`: batches are x0, or pairs of x0 and context."""
    check_prediction(prediction)

    def loss(model, batch, generator):
        x0, context = batch if isinstance(batch, tuple) else (batch, None)
        return training_loss(model, x0, schedule, prediction, context, snr_gamma, generator)

    return loss


def learning_rate(step, steps, lr, warmup):
    """The rate in step 0 … steps - 1: evenly up to `lr` in step `warmup`, then a cosine to 0."""
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    return lr * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


@torch.no_grad()
def update_ema(ema, model, step, decay):
    """Move the average weights towards the model's by 1 - decay, by more in the first steps.

    So that the random weights of the start do not linger: decay is (1 + step)/(10 + step) until
    that has grown to `decay`.
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
    for average, value in zip(ema.buffers(), model.buffers()):
        average.copy_(value)


def gradients(run):
    """Add up the gradients of this process's micro-batches; returns their share of the loss.

    Process r of n takes the micro-batches r, r + n, r + 2n, …
    """
    s, share = run.settings, torch.zeros((), device=run.device)
    parts = batch_at(run.count, s.batch_size, s.seed, run.step).tensor_split(run.parts)
    run.optimiser.zero_grad(set_to_none=True)
    for number in range(run.rank, run.parts, run.world):
        generator = seed_all(run.device, s.seed, 1, run.step, number)
        batch = move(take(run.data, parts[number]), run.device)
        half = torch.autocast(run.device.type, run.amp) if run.amp else contextlib.nullcontext()
        with half:
            loss = run.loss_of(run.model, batch, generator)
        if getattr(loss, "shape", None) != ():
            kind = f"of shape {list(loss.shape)}" if hasattr(loss, "shape") else type(loss).__name__
            raise ValueError(f"the loss must be one number, a tensor of shape [], not {kind}")
        weight = len(parts[number]) / s.batch_size
        run.scaler.scale(loss * weight).backward()
        share += loss.detach() * weight
    return share


def gradients_that_fit(run):
    """The same for all processes; if a GPU's memory is full, again with micro-batches of half."""
    while True:
        try:
            share, full = gradients(run), False
        except torch.cuda.OutOfMemoryError:
            full = True
        if not processes.anywhere(full, run.device, run.world):
            return processes.add_up(share, run.trained, run.world)
        run.optimiser.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        smaller_parts(run)


def smaller_parts(run):
    """Divide the batch into twice as many micro-batches."""
    size, before = run.settings.batch_size, run.parts
    run.parts = min(2 * before, size // run.world * run.world)
    if run.parts == before:
        raise torch.cuda.OutOfMemoryError(
            f"step {run.step + 1}: the GPU's memory is too small even for micro-batches of one "
            "picture. Take smaller pictures or a smaller model, or end what else uses the GPU"
        )
    run.say(
        f"step {run.step + 1}: out of GPU memory, so each batch is now done in {run.parts} "
        f"micro-batches of {-(-size // run.parts)}"
    )


def train_step(run):
    """One step: gradient, clipping, AdamW, average weights."""
    s, optimiser = run.settings, run.optimiser
    warmup = s.steps // 20 if s.warmup is None else s.warmup
    run.lr = optimiser.param_groups[0]["lr"] = learning_rate(run.step, s.steps, s.lr, warmup)
    share = gradients_that_fit(run)
    run.scaler.unscale_(optimiser)
    length = nn.utils.clip_grad_norm_(run.trained, s.clip or math.inf)
    loss, length = torch.stack([share, length.to(share)]).tolist()
    if not math.isfinite(loss) or not math.isfinite(length):
        check_overflow(run, loss)
    with checkpoint.interrupt_later():
        run.scaler.step(optimiser)
        run.scaler.update()
        update_ema(run.ema, run.model, run.step, s.ema)
        run.losses.append(loss)
        run.step += 1


def check_overflow(run, loss):
    """Raises FloatingPointError, unless it is float16's gradient: then the scaler takes less."""
    if math.isfinite(loss) and run.scaler.is_enabled() and run.scaler.get_scale() > 1:
        return
    what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    advice = f" The checkpoint in {run.path.parent} is untouched." if run.path else ""
    raise FloatingPointError(
        f"step {run.step + 1} of {run.settings.steps}: {what}. Training stopped before it could "
        f"spoil the weights.{advice} Likely causes: a learning rate that is too high (it was "
        f"{run.lr:.3g}), data with NaN in it or far outside [-1, 1], or a division by 0, a log or "
        "a root of 0 in the loss. The same run would come here again: change what caused it and "
        "begin anew (restart=True)"
    )


def prepare(model, data, loss, folder, device, about, settings):
    """A run at step 0."""
    device, rank, world = processes.place(device or runtime.device())
    lengths = {len(part) for part in data} if isinstance(data, tuple) else {len(data)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"data holds {sorted(lengths)} items; equal numbers above 0 are expected")
    if settings.accumulate * world > settings.batch_size:
        raise ValueError(
            f"a batch of {settings.batch_size} cannot be divided in {settings.accumulate * world} "
            "micro-batches: lower accumulate"
        )
    model.to(device).train()
    processes.same_start(checkpoint.module_tensors(model).values(), world)
    path = Path(folder) / CHECKPOINT if folder else None
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    run = Training(model, ema, settings, data, loss, path, device, rank, world, about or {})
    run.count, run.parts = lengths.pop(), settings.accumulate * world
    run.trained = [p for p in model.parameters() if p.requires_grad]
    rates = {"lr": settings.lr, "betas": settings.betas, "weight_decay": settings.weight_decay}
    run.optimiser = torch.optim.AdamW(run.trained, **rates)
    run.amp = runtime.amp_dtype(device)
    run.scaler = torch.amp.GradScaler(device.type, enabled=run.amp == torch.float16)
    return run


def train(model, data, loss, *, folder=None, save_every=200, restart=False, callback=None,
          every=1, device=None, about=None, **settings):  # fmt: skip
    """Train `model` in place. Returns a `Training`: its ema, losses, step, pictures_per_second.

    data: a tensor [N, ...], a tuple of tensors with N items each, or a data set whose data[i] gives
        tensors or tuples or dicts of them; it goes to the device batch by batch.
    loss: called as loss(model, batch, generator), returns one number; see `diffusion_loss`. What it
        draws at random comes from the generator (on the device) or torch's own.
    settings: steps (needed), batch_size, lr, warmup, betas, weight_decay, clip, ema, accumulate,
        seed: see `Settings`.
    folder: where the checkpoint is kept: every `save_every` steps, at the end, when interrupted.
        If there is one, training goes on from it; restart=True begins anew. None: no checkpoint.
    callback: called as callback(run) with the `Training` after every `every` steps.
    device: `runtime.device()` unless given. about: a dict of what else must be the same when a
        run goes on, as JSON can hold it, such as {"prediction": "epsilon"}.
    Ctrl-C, or the kernel's interrupt, ends it early, without an error; `finished` is False then.
    Under `accelerate launch` all processes share each batch. Raises ValueError for wrong arguments,
    CheckpointError, FloatingPointError when the loss or the gradient is NaN or infinite.
    """
    for name, value in (("save_every", save_every), ("every", every)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a number of steps, 1 or more")
    run = prepare(model, data, loss, folder, device, about, Settings(**settings))
    found = bool(run.path) and run.path.exists() and not restart
    if processes.anywhere(found, run.device, run.world):  # asked before the first of them saves
        checkpoint.load(run)
        state = "going on" if not run.finished else "nothing left to do (restart=True begins anew)"
        run.say(f"{run.path} holds {run.step} of {run.settings.steps} steps: {state}")
    elif run.path:
        checkpoint.save(run)  # a folder that cannot be written to is better found now
    loop(run, save_every, callback, every)
    run.optimiser.zero_grad(set_to_none=True)  # an interrupted step may have left some
    model.eval()
    return run


def loop(run, save_every, callback, every):
    """Step after step until the last, or Ctrl-C; prints how it went."""
    steps, began, before = run.settings.steps, time.perf_counter(), run.seconds
    quiet = None if run.rank == 0 else True  # None: a bar where somebody may be looking
    bar = tqdm(total=steps, initial=run.step, unit="step", disable=quiet)
    with borrowed_randomness(run.device), bar, contextlib.suppress(KeyboardInterrupt):
        while run.step < steps:
            train_step(run)
            run.seconds = before + time.perf_counter() - began
            bar.set_postfix_str(f"loss {run.loss:.4f}, {speed(run)}", refresh=False)
            bar.update()
            if run.path and run.step % save_every == 0:
                checkpoint.save(run)
            if callback and run.step % every == 0:
                callback(run)
                run.model.train()  # whatever the callback has done with it
    if run.path and run.saved != run.step:
        checkpoint.save(run)
    text = f"{run.step} of {steps} steps in {run.seconds:.0f} s, {speed(run)}, loss {run.loss:.4f}"
    on = f" The same call goes on from {run.path}." if run.path else ""
    run.say(text if run.finished else f"stopped: {text}.{on}")


def speed(run):
    return f"{run.pictures_per_second:.0f} pictures/s"
