"""The training loop: equal to a plain one, exact after any interruption, plain about failures."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from sdlearn import checkpoint, cli, processes, runtime
from sdlearn.batches import batch_at, borrowed_randomness, seed_all
from sdlearn.checkpoint import CheckpointError, interrupt_later
from sdlearn.diffusion import training_loss
from sdlearn.schedule import NoiseSchedule
from sdlearn.settings import RIGHT, Settings
from sdlearn.train import CHECKPOINT, diffusion_loss, learning_rate, train, update_ema

CPU = torch.device("cpu")
SCHEDULE = NoiseSchedule.cosine(50)
DIFFUSION = diffusion_loss(SCHEDULE, "v_prediction")
DATA = torch.randn(37, 3, generator=torch.Generator().manual_seed(5))  # 37: no batch divides it
PLAN = {"steps": 24, "batch_size": 8, "lr": 1e-2, "device": "cpu"}


class Net(nn.Module):
    """Small, but with dropout (random numbers of its own) and a buffer that changes."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.dropout = nn.Linear(4, 16), nn.Linear(16, 3), nn.Dropout(0.1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x, t):
        self.calls += 1
        x = self.a(torch.cat([x, t[:, None] / 50], dim=1)).relu()
        return self.b(self.dropout(x))


def net(seed=1):
    torch.manual_seed(seed)
    return Net()


def same(run, other):
    """Losses, weights and averages are equal in every bit."""
    if run.losses != other.losses:
        return False
    return all(
        torch.equal(x, y)
        for a, b in ((run.model, other.model), (run.ema, other.ema))
        for x, y in zip(a.state_dict().values(), b.state_dict().values())
    )


def stop_at(*steps):
    """A callback that interrupts, as Ctrl-C would, after each of these steps."""

    def callback(run):
        if run.step in steps:
            raise KeyboardInterrupt

    return callback


@pytest.fixture(scope="module")
def unbroken():
    return train(net(), DATA, DIFFUSION, **PLAN)


# --- the loop computes what it says ---


def test_five_steps_equal_a_loop_written_by_hand():
    """AdamW itself, too, is written out here (Loshchilov & Hutter 2019, algorithm 2)."""
    lr, betas, decay, clip, keep = 3e-3, (0.8, 0.95), 0.1, 0.5, 0.9
    settings = {"steps": 5, "batch_size": 8, "lr": lr, "warmup": 2, "betas": betas, "ema": keep}
    run = train(
        net(), DATA, DIFFUSION, weight_decay=decay, clip=clip, seed=3, device="cpu", **settings
    )
    model, losses = net(), []
    weights = list(model.parameters())
    average = [w.detach().clone() for w in weights]
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for k in range(5):
        generator = seed_all(CPU, 3, 1, k, 0)
        x0 = DATA[batch_at(len(DATA), 8, 3, k)]
        loss = training_loss(model, x0, SCHEDULE, "v_prediction", generator=generator)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, weights)
        length = math.sqrt(sum(float(g.square().sum()) for g in grads))
        rate = [lr / 3, 2 * lr / 3, lr, lr * 0.75, lr * 0.25][k]  # cos 0°, 60°, 120°
        share = 1 - min(keep, (1 + k) / (10 + k))
        for i, (w, g) in enumerate(zip(weights, grads)):
            g = g * min(1, clip / length)
            first[i] = betas[0] * first[i] + (1 - betas[0]) * g
            second[i] = betas[1] * second[i] + (1 - betas[1]) * g**2
            m, v = first[i] / (1 - betas[0] ** (k + 1)), second[i] / (1 - betas[1] ** (k + 1))
            with torch.no_grad():
                w -= rate * decay * w
                w -= rate * m / (v.sqrt() + 1e-8)
            average[i] += share * (w.detach() - average[i])
    # The order of float32 operations differs: some 1e-7 a step, on weights of size 1.
    torch.testing.assert_close(run.losses, losses, rtol=1e-5, atol=1e-6)
    for mine, theirs in ((run.model.parameters(), weights), (run.ema.parameters(), average)):
        for a, b in zip(mine, theirs):
            torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-5, atol=1e-5)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(k, 100, 2.0, 10) for k in range(100)]
    assert rates[0] == pytest.approx(2 / 11) and rates[10] == 2.0 == max(rates)
    assert np.allclose(np.diff(rates[:11]), 2 / 11)
    assert rates[55] == pytest.approx(1.0)  # half way down
    assert all(a > b for a, b in zip(rates[10:], rates[11:])) and 0 < rates[-1] < 1e-3
    assert learning_rate(100, 100, 2.0, 10) == 0
    assert learning_rate(0, 1, 2.0, 0) == 2.0


def test_the_average_follows_its_formula_and_takes_buffers_over():
    model, ema = net(1), net(2)
    for step, decay in ((0, 0.1), (8, 0.5), (10_000, 0.995)):
        before = {name: x.clone() for name, x in ema.state_dict().items()}
        model.calls += 1
        update_ema(ema, model, step, 0.995)
        for name, x in ema.named_parameters():
            expected = decay * before[name] + (1 - decay) * model.state_dict()[name]
            torch.testing.assert_close(x.detach(), expected, rtol=1e-6, atol=1e-7)
        assert ema.calls == model.calls


def test_every_epoch_shows_every_item_once_in_an_order_of_its_own():
    stream = torch.cat([batch_at(37, 8, 0, k) for k in range(37)]).view(8, 37)  # 8 epochs
    assert all(sorted(epoch.tolist()) == list(range(37)) for epoch in stream)
    assert len({tuple(epoch.tolist()) for epoch in stream}) == 8
    assert not torch.equal(batch_at(37, 8, 0, 0), batch_at(37, 8, 1, 0))
    assert len(batch_at(3, 8, 0, 5)) == 8  # a batch may be longer than the data


def test_micro_batches_draw_apart_and_dropout_apart_from_the_noise():
    drawn = set()
    for numbers in ((0, 1, 0, 0), (0, 1, 0, 1), (0, 1, 1, 0), (1, 1, 0, 0)):
        generator = seed_all(CPU, *numbers)
        drawn |= {float(torch.rand(())), float(torch.rand((), generator=generator))}
    assert len(drawn) == 8


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulation_gives_the_gradient_of_the_whole_batch(parts):
    """With a loss without chance, so that nothing depends on the division; 3 divides 8 unevenly."""

    def loss(model, batch, generator):
        return (model(batch) - batch.flip(1)).square().mean()

    results = []
    for accumulate in (1, parts):
        torch.manual_seed(0)
        settings = {"steps": 6, "batch_size": 8, "accumulate": accumulate, "device": "cpu"}
        results.append(train(nn.Linear(3, 3), DATA, loss, **settings))
    # Sums in another order; AdamW's first steps magnify that where a gradient is near 0.
    torch.testing.assert_close(results[0].losses, results[1].losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0].model.weight, results[1].model.weight, rtol=0, atol=1e-5)


def test_data_may_be_pairs_or_any_indexable():
    context = torch.arange(37.0)

    class Dataset:
        def __len__(self):
            return 37

        def __getitem__(self, i):
            assert 0 <= i < 37
            return {"x0": DATA[i], "number": context[i]}

    def pairs(model, batch, generator):
        x0, number = batch
        assert torch.equal(x0, DATA[number.long()])  # they have stayed together
        return model(x0).square().mean()

    def dicts(model, batch, generator):
        return pairs(model, (batch["x0"], batch["number"]), generator)

    results = []
    for data, loss in (((DATA, context), pairs), (Dataset(), dicts)):
        torch.manual_seed(0)
        results.append(train(nn.Linear(3, 2), data, loss, steps=6, batch_size=8, device="cpu"))
    assert same(*results)


def test_the_diffusion_loss_hands_the_context_on():
    seen = []

    def model(x_t, t, context):
        seen.append(context)
        return x_t

    context, generator = torch.ones(37, 2), torch.Generator().manual_seed(1)
    loss = diffusion_loss(SCHEDULE, "sample", 5)(model, (DATA, context), generator)
    assert seen[0] is context
    again = torch.Generator().manual_seed(1)
    expected = training_loss(model, DATA, SCHEDULE, "sample", context, 5, again)
    assert torch.equal(loss, expected)
    with pytest.raises(ValueError, match="'noise' is not one of"):
        diffusion_loss(SCHEDULE, "noise")


def test_frozen_parameters_stay_and_the_average_is_ready_to_use(unbroken):
    model = net()
    model.a.requires_grad_(False)
    before = model.a.weight.clone()
    run = train(model, DATA, DIFFUSION, **PLAN)
    assert torch.equal(model.a.weight, before) and torch.equal(run.ema.a.weight, before)
    assert not torch.equal(run.ema.b.weight, run.model.b.weight)
    assert not run.ema.training and not run.model.training
    assert not any(p.requires_grad for p in unbroken.ema.parameters())
    assert unbroken.finished and len(unbroken.losses) == 24 and unbroken.pictures_per_second > 0


def test_the_callers_random_numbers_go_on_as_if_nothing_had_been_drawn():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    runtime.seed_everything(4)
    expected = draw()
    runtime.seed_everything(4)
    with borrowed_randomness(CPU):
        seed_all(CPU, 1)
        draw()
    assert draw() == expected


def test_callbacks_see_the_run_and_cannot_change_its_course(unbroken):
    seen = []

    def callback(run):
        seen.append((run.step, len(run.losses), run.lr))
        run.model.eval()  # forgotten to be undone
        torch.rand(100), random.random(), np.random.rand()

    run = train(net(), DATA, DIFFUSION, callback=callback, every=5, **PLAN)
    assert [s[:2] for s in seen] == [(5, 5), (10, 10), (15, 15), (20, 20)]
    assert seen[0][2] > seen[-1][2] > 0
    assert same(run, unbroken)


def test_it_ends_with_one_line(capsys):
    train(net(), DATA, DIFFUSION, **PLAN)
    out = capsys.readouterr().out
    assert re.fullmatch(r"24 of 24 steps in \d+ s, \d+ pictures/s, loss \d\.\d{4}\n", out)


# --- going on exactly ---


@pytest.mark.parametrize("stops", [(1,), (4, 5), (7, 13, 23)])  # 37 items are 4.6 batches
def test_an_interrupted_run_goes_on_exactly(unbroken, tmp_path, capsys, stops):
    for seed, stop in enumerate(stops, 1):  # the first begins with the weights that matter
        run = train(net(seed), DATA, DIFFUSION, folder=tmp_path, callback=stop_at(stop), **PLAN)
        assert run.step == stop and not run.finished
        assert f"stopped: {stop} of 24 steps" in capsys.readouterr().out
        assert run.ema(DATA, torch.zeros(37)).isfinite().all()  # the average can be used
        assert all(p.grad is None for p in run.model.parameters())
    # Another seed's weights and random numbers: none of it may matter.
    run = train(net(99), DATA, DIFFUSION, folder=tmp_path, **PLAN)
    assert same(run, unbroken)
    assert "holds" in capsys.readouterr().out
    again = train(net(99), DATA, DIFFUSION, folder=tmp_path, **PLAN)  # nothing left to do
    assert same(again, unbroken) and "nothing left to do" in capsys.readouterr().out


def test_it_goes_on_from_the_last_saved_step_after_a_crash(unbroken, tmp_path):
    def crash(run):
        if run.step == 12:
            raise OSError("the callback's own fault")

    options = {"folder": tmp_path, "save_every": 5, **PLAN}
    with pytest.raises(OSError, match="own fault"):
        train(net(), DATA, DIFFUSION, callback=crash, **options)
    steps = []
    run = train(net(7), DATA, DIFFUSION, callback=lambda run: steps.append(run.step), **options)
    assert steps[0] == 11 and same(run, unbroken)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_real_interrupts_at_random_moments(unbroken, tmp_path):
    """SIGINT from a timer, wherever the program is: never half a step, never half a file."""
    chance, stopped, made = random.Random(0), 0, 0

    def start(run):  # the clock starts inside the loop, or loading could be hit
        nonlocal made
        if run.step < 20 and made == 0:
            made = 1
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, 6e-3))

    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        for _ in range(30):
            made = 0
            options = {"folder": tmp_path, "save_every": 1, "callback": start}
            try:
                run = train(net(3 if stopped else 1), DATA, DIFFUSION, **options, **PLAN)
                stopped += not run.finished
            except KeyboardInterrupt:  # between the loop and the return
                stopped += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            notes, _ = checkpoint.read(tmp_path / CHECKPOINT)
            if notes["step"] == 24:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stopped > 0
    assert same(train(net(8), DATA, DIFFUSION, folder=tmp_path, **PLAN), unbroken)


def test_an_interrupt_in_the_middle_of_an_update_leaves_a_whole_step(
    unbroken, tmp_path, monkeypatch
):
    import sdlearn.train as module

    real = module.update_ema

    def interrupted(ema, model, step, decay):  # AdamW has gone its step, the average not yet
        if step == 8:
            signal.raise_signal(signal.SIGINT)
        real(ema, model, step, decay)

    monkeypatch.setattr(module, "update_ema", interrupted)
    run = train(net(), DATA, DIFFUSION, folder=tmp_path, **PLAN)
    assert run.step == len(run.losses) == 9
    assert same(train(net(2), DATA, DIFFUSION, folder=tmp_path, **PLAN), unbroken)


def test_an_interrupt_waits_for_the_end_of_the_update():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt_later():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    try:
        with interrupt_later():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_trains_outside_the_main_thread(unbroken):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(net(), DATA, DIFFUSION, **PLAN)))
    thread.start()
    thread.join()
    assert same(runs[0], unbroken)


KILLED = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)  # a pool of threads does not survive a fork
sys.path.insert(0, {tests!r})
from test_train import DATA, DIFFUSION, net
from sdlearn.train import train

w = torch.zeros(1, requires_grad=True)  # AdamW's first step imports much: here, not in each child
w.grad = torch.zeros(1)
torch.optim.AdamW([w]).step()
plan = dict(steps=300, batch_size=8, lr=1e-2, device="cpu", folder={folder!r})
chance = random.Random(int(sys.argv[1]))
kills, first_steps = 0, []
while kills < 20:
    # The child asks for leave after each step, so it cannot run ahead of its killer.
    leave, steps = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        def callback(run):
            os.write(steps[1], run.step.to_bytes(2, "big"))
            os.read(leave[0], 1)
        try:
            train(net(kills), DATA, DIFFUSION, callback=callback, save_every=1, **plan)
        finally:
            os._exit(1)
    os.write(leave[1], bytes(12))
    first_steps.append(int.from_bytes(os.read(steps[0], 2), "big"))
    time.sleep(chance.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    kills += 1
    for end in (*leave, *steps):
        os.close(end)
print("first steps:", *first_steps)
train(net(99), DATA, DIFFUSION, **plan)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, which torch survives on Linux only")
def test_killed_twenty_times_it_ends_as_if_it_never_had_been(tmp_path):
    """kill -9, from outside, at random moments: of a child that a process with torch forks.

    So torch is imported once, not twenty times. Saving takes most of each step here, so most kills
    come while the file is being written.
    """
    code = KILLED.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    environment = {**os.environ, "SDLEARN_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "0"], capture_output=True, text=True, timeout=300,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("first steps:"))
    steps = [int(step) for step in line.split()[2:]]
    assert len(steps) == 20 and steps[0] == 1
    # Every life begins after what the last one had saved: it had made a step at least.
    assert all(a < b for a, b in zip(steps, steps[1:]))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plan = {"steps": 300, "batch_size": 8, "lr": 1e-2, "device": "cpu"}
        expected = train(net(0), DATA, DIFFUSION, **plan)
        run = train(net(5), DATA, DIFFUSION, folder=tmp_path, **plan)
    finally:
        torch.set_num_threads(threads)
    assert same(run, expected)


# --- checkpoints that do not fit ---


def stored(folder, **changes):
    train(net(), DATA, DIFFUSION, folder=folder, callback=stop_at(6), **{**PLAN, **changes})
    return folder / CHECKPOINT


def test_a_checkpoint_is_one_safetensors_file(tmp_path):
    path = stored(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    with safe_open(path, "pt") as file:
        names, notes = set(file.keys()), json.loads(file.metadata()["run"])
    assert {"model.a.weight", "ema.a.weight", "optimiser.0.exp_avg", "losses"} <= names
    assert notes["step"] == 6 and notes["settings"]["lr"] == 1e-2


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"lr": 2e-2}, "lr 0.01 there, 0.02 here. To go on, train as it was"),
        ({"steps": 30}, "steps 24 there, 30 here .the learning rate's curve depends on steps"),
        ({"accumulate": 2}, "accumulate 1 there, 2 here"),
        ({"seed": 1}, "seed 0 there, 1 here"),
        ({"betas": (0.9, 0.999)}, "betas"),
        ({"about": {"prediction": "sample"}}, "prediction epsilon there, sample here"),
        ({"about": None}, "prediction epsilon there, None here"),
    ],
)
def test_another_runs_checkpoint_is_refused(tmp_path, changes, said):
    about = {"prediction": "epsilon"}
    path = stored(tmp_path, about=about)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=said):
        train(net(), DATA, DIFFUSION, folder=tmp_path, **{**PLAN, "about": about, **changes})
    assert path.read_bytes() == before


def test_other_data_and_another_model_are_refused(tmp_path):
    stored(tmp_path)
    with pytest.raises(CheckpointError, match="pictures 37 there, 36 here"):
        train(net(), DATA[1:], DIFFUSION, folder=tmp_path, **PLAN)
    wide = net()
    wide.b = nn.Linear(16, 4)
    with pytest.raises(CheckpointError, match=r"b.weight is \[3, 16\] there, \[4, 16\] here"):
        train(wide, DATA, DIFFUSION, folder=tmp_path, **PLAN)
    more = net()
    more.c = nn.Linear(2, 2)
    before = more.a.weight.clone()
    with pytest.raises(CheckpointError, match=r"c.weight is None there, \[2, 2\] here"):
        train(more, DATA, DIFFUSION, folder=tmp_path, **PLAN)
    assert torch.equal(more.a.weight, before)


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "a bit":
        data[-5] ^= 1  # in the middle of the numbers
    whole = {"empty": b"", "text": b"not a checkpoint", "cut": data[: len(data) // 2]}
    path.write_bytes(whole.get(how, data))


@pytest.mark.parametrize("how", ["empty", "text", "cut", "a bit"])
def test_a_damaged_checkpoint_is_told_and_can_be_replaced(tmp_path, unbroken, how):
    path = stored(tmp_path)
    damage(path, how)
    with pytest.raises(CheckpointError, match="is damaged, .*restart=True to begin anew"):
        train(net(), DATA, DIFFUSION, folder=tmp_path, **PLAN)
    assert same(train(net(), DATA, DIFFUSION, folder=tmp_path, restart=True, **PLAN), unbroken)


def test_a_foreign_safetensors_file_is_no_checkpoint(tmp_path):
    checkpoint.write(tmp_path / CHECKPOINT, {"x": torch.ones(2)}, {"format": "pt"})
    with pytest.raises(CheckpointError, match="no checkpoint of sdlearn"):
        train(net(), DATA, DIFFUSION, folder=tmp_path, **PLAN)


def test_restart_does_not_come_back_to_the_old_run(tmp_path):
    """Even if it is killed before its first save."""
    stored(tmp_path)

    def crash(run):
        raise OSError

    with pytest.raises(OSError):
        train(net(), DATA, DIFFUSION, folder=tmp_path, restart=True, callback=crash, **PLAN)
    assert checkpoint.read(tmp_path / CHECKPOINT)[0]["step"] == 0


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = stored(tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        train(net(), DATA, DIFFUSION, folder=tmp_path, **PLAN)
    assert path.read_bytes() == before


def test_tied_weights_are_saved_once(tmp_path):
    def model():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        layers[1].weight = layers[0].weight
        return layers

    def loss(model, batch, generator):
        return (model(batch) - 1).square().mean()

    plan = {"steps": 8, "batch_size": 4, "device": "cpu"}
    expected = train(model(), DATA, loss, **plan)
    train(model(), DATA, loss, folder=tmp_path, callback=stop_at(3), **plan)
    run = train(model(), DATA, loss, folder=tmp_path, **plan)
    assert same(run, expected) and run.ema[0].weight is run.ema[1].weight


# --- when it goes wrong ---


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, bad):
    def loss(model, batch, generator):
        value = DIFFUSION(model, batch, generator)
        return value * bad if int(model.calls) == 8 else value

    with pytest.raises(FloatingPointError, match="step 8 of 24: the loss is .*learning rate .*NaN"):
        train(net(), DATA, loss, folder=tmp_path, save_every=5, **PLAN)
    notes, tensors = checkpoint.read(tmp_path / CHECKPOINT)
    assert notes["step"] == 5 and all(x.isfinite().all() for x in tensors.values())


def test_a_gradient_that_is_not_finite_never_reaches_the_weights():
    def loss(model, batch, generator):  # √0 is 0, but its slope is infinite
        return (model(batch) * 0).square().sum().sqrt()

    model = nn.Linear(3, 1)
    with pytest.raises(FloatingPointError, match="step 1 of 5: the gradient is not finite"):
        train(model, DATA, loss, steps=5, device="cpu")
    assert model.weight.isfinite().all()


def memory(limit):
    """A loss for a GPU that has room for `limit` pictures; it lists what it was asked for."""
    asked = []

    def loss(model, batch, generator):
        asked.append(len(batch))
        if len(batch) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (made up)")
        return DIFFUSION(model, batch, generator)

    return loss, asked


def test_out_of_memory_halves_the_micro_batch_and_redoes_the_step(tmp_path, capsys):
    loss, asked = memory(limit=3)
    run = train(net(), DATA, loss, **PLAN)
    assert asked[:6] == [8, 4, 2, 2, 2, 2] and set(asked[6:]) == {2}
    out = capsys.readouterr().out
    assert "step 1: out of GPU memory, so each batch is now done in 4 micro-batches of 2" in out
    expected = train(net(), DATA, DIFFUSION, accumulate=4, **PLAN)
    assert run.losses == expected.losses and torch.equal(run.ema.a.weight, expected.ema.a.weight)
    # The division is part of the checkpoint, or the random numbers would change on the way.
    train(net(), DATA, memory(3)[0], folder=tmp_path, callback=stop_at(9), **PLAN)
    loss, asked = memory(limit=3)
    resumed = train(net(), DATA, loss, folder=tmp_path, **PLAN)
    assert set(asked) == {2} and resumed.losses == expected.losses


def test_memory_that_is_too_small_for_one_picture_is_told():
    loss, asked = memory(limit=0)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="even for micro-batches of one picture"):
        train(net(), DATA, loss, **PLAN)
    assert asked == [8, 4, 2, 1]


@pytest.mark.parametrize(
    "name, value",
    [("steps", 0), ("steps", 2.0), ("steps", True), ("batch_size", "32"), ("lr", 0), ("lr", "a"),
     ("lr", math.nan), ("warmup", -1), ("betas", 0.9), ("betas", (0.9, 1.0)), ("clip", 0),
     ("weight_decay", -1), ("weight_decay", None), ("ema", 1), ("accumulate", 0), ("seed", -1)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*, but must be "):
        Settings(**{"steps": 10, name: value})


def test_every_setting_is_checked_and_the_defaults_pass():
    assert vars(Settings(steps=1)).keys() == RIGHT.keys()
    assert Settings(steps=1, clip=None, betas=[0.5, 0.9]).warmup is None


def test_arguments_that_make_no_sense_are_refused():
    for data, said in ((DATA[:0], "holds"), ((DATA, DATA[1:]), r"\[36, 37\] items")):
        with pytest.raises(ValueError, match=said):
            train(net(), data, DIFFUSION, **PLAN)
    with pytest.raises(ValueError, match="cannot be divided in 9 micro-batches"):
        train(net(), DATA, DIFFUSION, accumulate=9, **PLAN)
    with pytest.raises(ValueError, match="every is 0"):
        train(net(), DATA, DIFFUSION, every=0, **PLAN)
    with pytest.raises(ValueError, match=r"one number, a tensor of shape \[\], not of shape \[8"):
        train(nn.Linear(3, 3), DATA, lambda model, x, generator: model(x), **PLAN)
    with pytest.raises(TypeError, match="speed"):
        train(net(), DATA, DIFFUSION, speed=1, **PLAN)


# --- mixed precision ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_trains_and_goes_on_exactly(monkeypatch, tmp_path, dtype):
    """On the CPU, which can do it too, only slowly."""
    monkeypatch.setattr(runtime, "amp_dtype", lambda device: dtype)
    seen = set()

    def loss(model, batch, generator):
        seen.add(model.a(torch.zeros(1, 4)).dtype)
        return DIFFUSION(model, batch, generator)

    expected = train(net(), DATA, loss, **PLAN)
    assert seen == {dtype} and expected.model.a.weight.dtype == torch.float32
    train(net(), DATA, loss, folder=tmp_path, callback=stop_at(11), **PLAN)
    run = train(net(3), DATA, loss, folder=tmp_path, **PLAN)
    assert same(run, expected)
    assert run.scaler.is_enabled() == (dtype == torch.float16)
    assert run.scaler.state_dict() == expected.scaler.state_dict()


def test_float16_overflow_costs_a_step_and_lowers_the_scale(monkeypatch):
    monkeypatch.setattr(runtime, "amp_dtype", lambda device: torch.float16)
    scales, weights = [], []

    def loss(model, batch, generator):  # a gradient of some 5: times 2**16 it is past float16
        return model(batch).square().mean()

    def callback(run):
        scales.append(run.scaler.get_scale())
        weights.append(run.model.weight.detach().clone())

    torch.manual_seed(0)
    train(nn.Linear(3, 3), DATA * 3, loss, steps=12, callback=callback, device="cpu")
    assert scales[0] == 2**15 and scales[-1] < scales[0]  # halved in step 1, from 2**16
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[-1])
    assert all(w.isfinite().all() for w in weights)


@pytest.mark.gpu
def test_on_a_gpu_it_trains_in_mixed_precision_and_goes_on(tmp_path):
    plan = {**PLAN, "device": "cuda"}
    expected = train(net(), DATA, DIFFUSION, **plan)
    train(net(), DATA, DIFFUSION, folder=tmp_path, callback=stop_at(11), **plan)
    run = train(net(3), DATA, DIFFUSION, folder=tmp_path, **plan)
    assert run.model.a.weight.is_cuda and run.amp == runtime.amp_dtype("cuda")
    # GPUs may add in another order from run to run.
    torch.testing.assert_close(run.losses, expected.losses, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_on_a_gpu_real_lack_of_memory_is_survived(capsys):
    free, _ = torch.cuda.mem_get_info()
    room = torch.empty(int(free * 0.9), dtype=torch.uint8, device="cuda")  # leaves a tenth

    def loss(model, batch, generator):
        torch.empty(len(batch) * int(free * 0.02), dtype=torch.uint8, device="cuda")
        return DIFFUSION(model, batch, generator)

    run = train(net(), DATA, loss, **{**PLAN, "device": "cuda"})
    del room
    assert run.finished and run.parts > 1 and "out of GPU memory" in capsys.readouterr().out


# --- several processes ---

PAIR = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_train import DATA, DIFFUSION, PLAN, memory, net
from sdlearn.train import train

rank = int(__import__("os").environ["RANK"])
# Different weights to begin with, and too little memory in one of the two: 2 pictures at most.
loss = memory(2)[0] if rank else DIFFUSION
run = train(net(1 + rank), DATA, loss, folder={folder!r}, accumulate=1, **PLAN)
assert run.world == 2 and run.parts == 4
torch.save(run.ema.state_dict(), {folder!r} + "/ema" + str(rank))
"""


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    """`accelerate launch`, on the CPU: the launcher for several GPUs, told that there are none."""
    (tmp_path / "pair.py").write_text(
        PAIR.format(tests=os.path.dirname(__file__), folder=str(tmp_path)), encoding="utf-8"
    )
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1"
    options = f"--mixed_precision no --dynamo_backend no --main_process_port {free_port()}"
    environment = {**os.environ, "SDLEARN_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch.split(), *options.split(), str(tmp_path / "pair.py")],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("24 of 24 steps") == 1  # one of them speaks
    expected = train(net(1), DATA, DIFFUSION, accumulate=4, **PLAN)
    for rank in (0, 1):
        ema = torch.load(tmp_path / f"ema{rank}", weights_only=True)
        for name, x in expected.ema.state_dict().items():
            if name != "calls":  # each counts its own
                # Sums in another order, magnified by AdamW where a gradient is near 0.
                torch.testing.assert_close(ema[name], x, rtol=0, atol=1e-4)
    notes, tensors = checkpoint.read(tmp_path / CHECKPOINT)
    assert notes["step"] == 24 and notes["settings"]["accumulate"] == 2
    torch.testing.assert_close(tensors["losses"].tolist(), expected.losses, rtol=1e-4, atol=1e-5)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_one_process_needs_no_one_else(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes.place("cpu") == (CPU, 0, 1)
    assert processes.anywhere(True, CPU, 1) is True


# --- sdlearn train ---

RECIPE = {
    "model": {
        "in_channels": 12, "out_channels": 12, "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8,
    },
    "data": {"emoji": {"size": 16, "subset": "faces", "style": "bold", "mirror": True}},
    "fold": 2,
    "schedule": {"name": "cosine", "T": 100},
    "prediction": "v_prediction",
    "train": {"steps": 6, "batch_size": 4, "lr": 0.003, "save_every": 2},
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A function that writes the recipe with changes and runs `sdlearn train` on it."""
    monkeypatch.setenv("SDLEARN_DEVICE", "cpu")

    def call(*options, **changes):
        path = tmp_path / "small.json"
        path.write_text(json.dumps({**RECIPE, **changes}), encoding="utf-8")
        return cli.main(["train", str(path), "--out", str(tmp_path / "out"), *options])

    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_command_trains_and_diffusers_opens_the_result(recipe, tmp_path, capsys):
    from diffusers import UNet2DModel
    from PIL import Image

    from sdlearn.unet import UNet

    assert recipe() == 0
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "samples.png", "training.json", "training.safetensors", "unet",
    ]  # fmt: skip
    theirs = UNet2DModel.from_pretrained(out / "unet", low_cpu_mem_usage=False).eval()
    ours = UNet.from_config(json.loads((out / "unet" / "config.json").read_text())).eval()
    ours.load_state_dict(theirs.state_dict())
    ema = {n[4:]: x for n, x in checkpoint.read(out / CHECKPOINT)[1].items() if n[:4] == "ema."}
    assert all(torch.equal(ema[name], x) for name, x in theirs.state_dict().items())
    x, t = torch.randn(2, 12, 8, 8), torch.tensor([3, 90])
    with torch.no_grad():  # float32, and two orders of adding up
        torch.testing.assert_close(ours(x, t), theirs(x, t).sample, rtol=1e-4, atol=1e-4)
    drawn = (out / "samples.png").read_bytes()
    assert recipe("--half") == 0  # nothing is trained again, the weights are written as float16
    weights = load_file(out / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(weights[name], x.half()) for name, x in ema.items())
    assert (out / "samples.png").read_bytes() == drawn
    with Image.open(out / "samples.png") as picture:
        assert picture.size == (8 * 17 - 1, 4 * 17 - 1)  # 32 pictures of 16, lines between
        assert len(picture.getcolors(2**16)) > 100
    report = json.loads((out / "training.json").read_text())
    assert len(report["losses"]) == 6 and report["recipe"] == RECIPE and "cpu" in report["device"]
    assert report["parameters"] == sum(p.numel() for p in theirs.parameters())
    assert report["pictures"] % 2 == 0  # mirrored


def test_the_command_goes_on_and_begins_anew(recipe, tmp_path, capsys, monkeypatch):
    assert recipe() == 0
    weights = (tmp_path / "out/unet/diffusion_pytorch_model.safetensors").read_bytes()
    report = json.loads((tmp_path / "out/training.json").read_text())
    capsys.readouterr()

    real, steps = checkpoint.save, []

    def interrupted(run):
        real(run)
        if run.step == 4 and not steps:
            steps.append(4)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupted)
    assert recipe("--restart") == 130
    out = capsys.readouterr().out
    assert "stopped: 4 of 6 steps" in out and f"`sdlearn train {tmp_path / 'small.json'}`" in out
    assert recipe() == 0
    assert "holds 4 of 6 steps: going on" in capsys.readouterr().out
    again = json.loads((tmp_path / "out/training.json").read_text())
    assert again["losses"] == report["losses"]
    assert (tmp_path / "out/unet/diffusion_pytorch_model.safetensors").read_bytes() == weights
    assert recipe(prediction="sample") == 2
    err = capsys.readouterr().err
    assert "prediction v_prediction there, sample here" in err and "give --restart" in err


@pytest.mark.slow
def test_a_real_ctrl_c_ends_the_command_with_130(recipe, tmp_path):
    """A background process, whose SIGINT the shell would have ignored."""
    path = tmp_path / "long.json"
    long = {**RECIPE, "train": {**RECIPE["train"], "steps": 100_000}}
    path.write_text(json.dumps(long), encoding="utf-8")
    code = f"""
        import os, signal, sys, threading, time
        from sdlearn import checkpoint, cli
        real = checkpoint.save
        def save(run):
            real(run)
            if run.step == 4:
                os.kill(os.getpid(), signal.SIGTERM if {os.name == "posix"} else signal.SIGINT)
        checkpoint.save = save
        sys.exit(cli.main(["train", {str(path)!r}, "--out", {str(tmp_path / "out")!r}]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "goes on from there" in done.stdout and "Traceback" not in done.stderr
    assert checkpoint.read(tmp_path / "out" / CHECKPOINT)[0]["step"] == 4


def test_the_command_trains_on_a_folder_of_pictures(recipe, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.new("RGB", (20, 30), (80 * i, 10, 10)).save(tmp_path / "pictures" / f"{i}.png")
    assert recipe(data={"folder": str(tmp_path / "pictures"), "size": 16}) == 0
    assert json.loads((tmp_path / "out/training.json").read_text())["pictures"] == 3


def without(name):
    return {k: v for k, v in RECIPE["train"].items() if k != name}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"shedule": {}}, "shedule is not known; known are model, data, fold, schedule"),
        ({"train": {**RECIPE["train"], "epochs": 3}}, "epochs is not known; known are steps"),
        ({"train": without("steps")}, "train: 'steps' is missing"),
        ({"train": {**RECIPE["train"], "lr": -1}}, "lr is -1, but must be"),
        ({"train": {**RECIPE["train"], "save_every": 0}}, "save_every is 0"),
        ({"train": 5}, "train: expected is"),
        ({"model": []}, "model: expected is"),
        ({"model": {**RECIPE["model"], "depth": 3}}, "'depth'"),
        ({"fold": 1}, "in_channels is 12, but must be 3"),
        ({"fold": 3}, "fold 3 does not divide pictures of 16"),
        ({"schedule": {"name": "sine"}}, "linear"),
        ({"schedule": {"name": "cosine", "beta_end": 1}}, "beta_end is not known; known are T"),
        ({"prediction": "noise"}, "'noise' is not one of epsilon"),
        ({"data": {"emoji": {"size": 17}}}, "size 17 is not one of 16, 32, 64"),
        ({"data": {"emoji": {"colour": 1}}}, "colour is not known; known are split, size"),
        ({"data": {}}, "either"),
        ({"data": {"folder": "nowhere"}}, "'size' is missing"),
        ({"data": {"folder": "nowhere", "size": 8}}, "there is no folder 'nowhere'"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(recipe, tmp_path, capsys, changes, said):
    assert recipe(**changes) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_here_is_refused_in_one_line(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SDLEARN_DEVICE", "tpu")
    assert recipe() == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "SDLEARN_DEVICE is 'tpu'" in line
    assert not (tmp_path / "out").exists()


def test_no_recipe_and_no_json(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path / "none.json")]) == 2
    assert "data/training/faces.json" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    assert cli.main(["train", str(tmp_path / "bad.json")]) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_a_loss_that_overflows_ends_the_command_with_1(recipe, capsys):
    huge = {**RECIPE["train"], "lr": 1e30, "clip": None, "warmup": 0}
    assert recipe(train=huge) == 1
    err = capsys.readouterr().err
    assert "Likely causes: a learning rate that is too high (it was " in err
    assert "begin anew (--restart)" in err


def test_the_recipes_of_the_course_can_be_followed():
    """Read, built, and asked once; to train them takes minutes."""
    from pathlib import Path

    from sdlearn import recipe
    from sdlearn.unet import UNet

    paths = sorted((Path(__file__).resolve().parents[1] / "data" / "training").glob("*.json"))
    assert "faces.json" in [path.name for path in paths]
    for path in paths:
        given = recipe.read_recipe(path)
        x0 = recipe.load(given["data"], given["fold"])
        recipe.check_model(UNet.from_config(given["model"]), x0)
        recipe.make_schedule(given["schedule"])
        assert x0.abs().max() <= 1 and len(x0) > 100
