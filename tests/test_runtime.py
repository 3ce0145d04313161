"""The device, the seeds, the set-up line, and where the course lies."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from sdlearn import places, runtime


@pytest.fixture(autouse=True)
def no_override(monkeypatch):
    monkeypatch.delenv("SDLEARN_DEVICE", raising=False)


def pretend(monkeypatch, *kinds):
    """Make torch look as if this machine had exactly these kinds of device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int("cuda" in kinds))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)


@pytest.mark.parametrize(
    "kinds, expected",
    [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")],
)
def test_device_prefers_cuda_then_mps_then_cpu(monkeypatch, kinds, expected):
    pretend(monkeypatch, *kinds)
    assert runtime.device() == torch.device(expected)
    assert runtime.pick(cpu=1, gpu=2) == (1 if expected == "cpu" else 2)


def test_the_environment_overrides_the_device(monkeypatch):
    pretend(monkeypatch, "cuda")
    monkeypatch.setenv("SDLEARN_DEVICE", " CPU ")
    assert runtime.device() == torch.device("cpu")
    monkeypatch.setenv("SDLEARN_DEVICE", "cuda:0")
    assert runtime.device() == torch.device("cuda:0")


@pytest.mark.parametrize("value", ["banana", "gpu", "cuda:x", "cuda:"])
def test_a_wrong_device_is_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("SDLEARN_DEVICE", value)
    with pytest.raises(ValueError, match="SDLEARN_DEVICE is .*expected cpu, cuda"):
        runtime.device()


@pytest.mark.parametrize("value, kinds", [("cuda", ()), ("mps", ("cuda",)), ("cuda:3", ("cuda",))])
def test_a_device_this_machine_lacks_is_refused(monkeypatch, value, kinds):
    pretend(monkeypatch, *kinds)
    monkeypatch.setenv("SDLEARN_DEVICE", value)
    with pytest.raises(RuntimeError, match=f"'{value}', but this torch .* finds only: .*cpu"):
        runtime.device()


@pytest.mark.parametrize(
    "capability, expected",
    [((6, 1), None), ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16),
     ((9, 0), torch.bfloat16)],
)  # fmt: skip
def test_mixed_precision_follows_the_gpu(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert runtime.amp_dtype("cuda") == expected


def test_no_mixed_precision_off_cuda():
    assert runtime.amp_dtype("cpu") is None
    assert runtime.amp_dtype(torch.device("mps")) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_is_taken_and_its_mixed_precision_computes():
    from sdlearn import doctor

    device = runtime.device()
    assert device.type == "cuda" and runtime.pick(cpu=1, gpu=2) == 2
    [row] = doctor.check_device()
    assert row[1] == "ok" and torch.cuda.get_device_name() in row[2] and "GB free" in row[2]


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_seeding_repeats_all_three_generators():
    runtime.seed_everything(7)
    first = draw()
    runtime.seed_everything(7)
    assert draw() == first
    runtime.seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "0", None, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match="whole number"):
        runtime.seed_everything(seed)


def test_start_seeds_prints_one_line_and_returns_the_device(capsys, monkeypatch):
    monkeypatch.setenv("SDLEARN_DEVICE", "cpu")
    assert runtime.start(seed=3) == torch.device("cpu")
    after_start = draw()
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    for part in (f"torch {torch.__version__}", "device cpu", "seed 3"):
        assert part in printed
    runtime.seed_everything(3)
    assert draw() == after_start


def test_importing_runtime_is_light():
    code = (
        "import sys, sdlearn.runtime; "
        "print([m for m in ('diffusers', 'transformers', 'datasets') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_colab_is_detected(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    assert not runtime.in_colab()
    monkeypatch.setitem(sys.modules, "google.colab", object())
    assert runtime.in_colab()


def test_the_clone_is_found_and_its_absence_explained(monkeypatch, tmp_path):
    assert (runtime.course_root() / "sdlearn" / "runtime.py").is_file()
    # An installed copy, called from anywhere in a clone, then from outside.
    monkeypatch.setattr(places, "__file__", str(tmp_path / "lib" / "sdlearn" / "places.py"))
    clone = tmp_path / "my clone"
    (clone / "sdlearn").mkdir(parents=True)
    (clone / "sdlearn" / "__init__.py").touch()
    (clone / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(clone / "notebooks" / "deep")
    assert places.course_root() == clone
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="change into the clone"):
        places.course_root()


def test_chapters_are_chosen_by_number_name_and_path(tmp_path):
    for name in ("00_start.ipynb", "02_reverse.ipynb", "01_forward.ipynb", "notes.ipynb"):
        (tmp_path / name).touch()
    (tmp_path / "other.txt").touch()

    def chosen(*names):
        return [path.name for path in places.select(names, tmp_path)]

    assert chosen() == ["00_start.ipynb", "01_forward.ipynb", "02_reverse.ipynb"]
    assert chosen("2", "00") == ["02_reverse.ipynb", "00_start.ipynb"]
    assert chosen("01_forward", "01_forward.ipynb") == ["01_forward.ipynb"] * 2
    assert chosen(str(tmp_path / "notes.ipynb")) == ["notes.ipynb"]
    for wrong in ("9", "03_unet", str(tmp_path / "other.txt"), "²"):
        with pytest.raises(places.CommandError, match="00_start, 01_forward, 02_reverse"):
            places.select([wrong], tmp_path)
    with pytest.raises(places.CommandError, match="no chapters in"):
        places.select([], tmp_path / "empty")
