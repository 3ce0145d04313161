"""Damaged and hostile files of weights: one clear error each, no code run, memory bounded.

Each case makes a file (or a folder) out of a good one and says which words the error must have.
"""

import collections
import json
import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_single_file import published

from sdlearn.compvis import UNET
from sdlearn.pipeline import TextToImage

NAME = f"{UNET}input_blocks.0.0.weight"
MOST = 64 * 2**20  # bytes that refusing a file may take: torch reads a page or two of it
CASES = {}


def case(words, kind=None):
    """A function(path) that makes the file; words: of the error, a regular expression."""

    def add(make):
        CASES[make.__name__] = make, words, kind
        return make

    return add


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good file of either kind, and a folder."""
    folder = tmp_path_factory.mktemp("good")
    model = published()
    model.save(folder / "model.safetensors", half=True)
    torch.save(load_file(folder / "model.safetensors"), folder / "model.ckpt")
    model.save(folder / "folder", half=True)
    return folder


# --- safetensors ----------------------------------------------------------------------------------


def header(path):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(path, told, numbers):
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


def told(change):
    """A file whose header says something else of the tensors."""

    def make(path):
        found, numbers = header(path)
        change(found)
        with_header(path, found, numbers)

    return make


HEADERS = {
    "another_shape": lambda f: f[NAME].update(shape=[1, 2, 3]),
    "a_negative_size": lambda f: f[NAME].update(shape=[-32, -4, 3, 3]),
    "a_size_that_overflows": lambda f: f[NAME].update(shape=[2**40, 2**40, 3, 3]),
    "an_unknown_dtype": lambda f: f[NAME].update(dtype="Q4"),
    "another_dtype": lambda f: f[NAME].update(dtype="F64"),
    "numbers_beyond_the_end": lambda f: f[NAME].update(data_offsets=[10**12, 10**12 + 2304]),
    "numbers_that_end_before_they_begin": lambda f: f[NAME].update(data_offsets=[2304, 0]),
    "numbers_of_another_tensor": lambda f: f[NAME].update(data_offsets=[0, 2304]),
    "a_hole": lambda f: f.pop(NAME),
    "no_offsets": lambda f: f[NAME].pop("data_offsets"),
    "a_list_for_a_tensor": lambda f: f.update({NAME: []}),
}
for name, change in HEADERS.items():
    CASES[f"header_with_{name}"] = told(change), "damaged", "model.safetensors"


@case("damaged", "model.safetensors")
def header_of_nothing(path):
    with_header(path, b"", header(path)[1])


@case("damaged", "model.safetensors")
def header_longer_than_the_file(path):
    path.write_bytes(struct.pack("<Q", 10**9) + path.read_bytes()[8:])


@case("damaged", "model.safetensors")
def header_of_two_to_the_63(path):
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])


@case("damaged", "model.safetensors")
def header_that_is_no_json(path):
    with_header(path, b"{" + b"x" * 500, header(path)[1])


@case("damaged", "model.safetensors")
def header_that_is_a_list(path):
    with_header(path, [1, 2, 3], header(path)[1])


@case("damaged", "model.safetensors")
def header_nested_without_end(path):
    with_header(path, b'{"a":' * 100_000, b"")


@case("damaged", "model.safetensors")
def header_that_is_no_text(path):
    with_header(path, b'{"\xff\xfe": {}}', header(path)[1])


@case("damaged", "model.safetensors")
def numbers_after_the_end(path):
    path.write_bytes(path.read_bytes() + b"\0" * 1000)


@case("holds no tensors", "model.safetensors")
def safetensors_of_nothing(path):
    save_file({}, path)


# --- dtypes ---------------------------------------------------------------------------------------


def of_dtype(dtype, kind):
    def make(path):
        found = torch.load(path) if kind.endswith("ckpt") else load_file(path)
        found[NAME] = torch.ones(found[NAME].shape).to(dtype)
        (torch.save if kind.endswith("ckpt") else save_file)(found, path)

    return make


for kind in ("model.ckpt", "model.safetensors"):
    for dtype in (torch.int8, torch.uint8, torch.int64, torch.bool):
        name = f"{str(dtype).removeprefix('torch.')}_in_{kind}"
        CASES[name] = of_dtype(dtype, kind), "floating-point numbers", kind
CASES["complex_in_ckpt"] = of_dtype(torch.complex64, "model.ckpt"), "floating-point", "model.ckpt"


def of_tensor(make_tensor):
    def make(path):
        found = torch.load(path)
        found[NAME] = make_tensor(found[NAME].float())
        torch.save(found, path)

    return make


TENSORS = {
    "sparse": lambda x: x.to_sparse(),
    "on_the_meta_device": lambda x: x.to("meta"),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "nested": lambda x: torch.nested.nested_tensor([x[0], x[1]]),
    "no_tensor": lambda x: x.tolist(),
}
for name, make_tensor in TENSORS.items():
    CASES[f"tensor_{name}"] = of_tensor(make_tensor), "lacks|missing|damaged|asks", "model.ckpt"


# --- zips and pickles -----------------------------------------------------------------------------


def repacked(change, compression=zipfile.ZIP_STORED):
    """A zip whose members {name: bytes} were changed."""

    def make(path):
        with zipfile.ZipFile(path) as old:
            members = {info.filename: old.read(info) for info in old.infolist()}
        change(members)
        with zipfile.ZipFile(path, "w", compression) as new:
            for member, content in members.items():
                new.writestr(member, content)

    return make


def member(members, end):
    return next(name for name in members if name.endswith(end))


ZIPS = {
    "without_its_pickle": lambda m: m.pop(member(m, "data.pkl")),
    "with_two_pickles": lambda m: m.update({"other/data.pkl": b"\x80\x02}."}),
    "with_an_empty_pickle": lambda m: m.update({member(m, "data.pkl"): b""}),
    "with_half_a_pickle": lambda m: m.update({member(m, "data.pkl"): m[member(m, ".pkl")][:999]}),
    "with_a_pickle_of_noise": lambda m: m.update({member(m, "data.pkl"): bytes(range(256))}),
    "with_a_pickle_of_a_number": lambda m: m.update({member(m, "data.pkl"): b"\x80\x02K\x07."}),
    "without_a_tensor": lambda m: m.pop(member(m, "data/0")),
    "with_a_tensor_cut": lambda m: m.update({member(m, "data/1"): b"12"}),
    "in_another_folder": lambda m: m.update({"../../x": m.pop(member(m, "data/0"))}),
}
for name, change in ZIPS.items():
    words = "damaged|not one that PyTorch wrote|holds a int|asks for more than tensors"
    CASES[f"zip_{name}"] = repacked(change), words, "model.ckpt"
CASES["zip_bomb"] = (
    repacked(lambda m: m.update({member(m, "data/0"): bytes(10**8)}), zipfile.ZIP_DEFLATED),
    "holds more than its size",
    "model.ckpt",
)


class Calls:
    """Its pickle calls a function when it is opened."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def calling(function, *arguments, wrap=lambda x: {"more": x}):
    def make(path):
        told = [str(path.parent / "run") if a == "RUN" else a for a in arguments]
        torch.save({**torch.load(path), **wrap(Calls(function, *told))}, path)

    return make


PROGRAMS = {
    "mkdir": calling(os.mkdir, "RUN"),
    "system": calling(os.system, "mkdir RUN"),
    "eval": calling(eval, "open('RUN', 'w')"),
    "a_getattr": calling(getattr, "", "join"),
    "a_program_in_a_key": calling(os.mkdir, "RUN", wrap=lambda x: {(x,): 1}),
    "a_program_in_a_list": calling(os.mkdir, "RUN", wrap=lambda x: {NAME: [[x]]}),
    "torch_hub": calling(torch.hub.load, "somebody/something", "model"),
}
for name, make in PROGRAMS.items():
    CASES[f"pickle_with_{name}"] = make, "asks for .*refused|is damaged", "model.ckpt"


@case("holds more than its size", "model.ckpt")
def pickle_that_fills_the_memory(path):
    torch.save({**torch.load(path), "more": Calls(bytearray, 10**11)}, path)


@case("holds more than its size", "model.ckpt")
def tensor_said_to_be_large(path):
    found = torch.load(path)
    torch.save({**found, NAME: torch.zeros(1).expand(10**9, 4, 3, 3)}, path)


@case("program of TorchScript", "model.ckpt")
def a_program_of_torchscript(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


@case("neither a safetensors file nor", "model.ckpt")
def pickle_of_old(path):
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)


@case("asks for", "model.ckpt")
def a_whole_module(path):
    torch.save(torch.nn.Linear(2, 2), path)


# --- folders --------------------------------------------------------------------------------------


def in_file(name, change):
    def make(path):
        file = path / name
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")

    return make


def in_config(name, **more):
    return in_file(name, lambda text: json.dumps({**json.loads(text), **more}))


UNET_CONFIG, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
FOLDERS = {
    "config_cut": (in_file(UNET_CONFIG, lambda text: text[:50]), "config.json"),
    "config_of_nothing": (in_file(UNET_CONFIG, lambda text: ""), "config.json"),
    "config_a_list": (in_file(UNET_CONFIG, lambda text: "[1]"), "config.json"),
    "width_of_a_billion": (
        in_config(UNET_CONFIG, block_out_channels=[2**30, 2**31, 2**31, 2**31]),
        "unet",
    ),
    "width_of_words": (in_config(UNET_CONFIG, block_out_channels=["a", "b"]), "unet|channels"),
    "width_below_nothing": (in_config(UNET_CONFIG, block_out_channels=[-32, 64, 64, 64]), "-32"),
    "layers_of_a_billion": (in_config("text_encoder/config.json", num_hidden_layers=-1), "layers"),
    "heads_of_nothing": (in_config(UNET_CONFIG, attention_head_dim=0), "head"),
    "schedule_of_nothing": (in_config(SCHEDULER, num_train_timesteps=0), "betas must be"),
    "schedule_of_no_sense": (in_config(SCHEDULER, beta_end=7.0), "every beta"),
    "schedule_of_words": (in_config(SCHEDULER, beta_schedule="moonlight"), "moonlight"),
    "scaling_of_nothing": (in_config("vae/config.json", scaling_factor=0), "scaling_factor"),
    "vocabulary_cut": (in_file("tokenizer/vocab.json", lambda text: text[:99]), "vocab.json"),
    "vocabulary_of_lists": (
        in_file("tokenizer/vocab.json", lambda text: '{"a": []}'),
        "vocabulary",
    ),
    "merges_of_one_word": (
        in_file("tokenizer/merges.txt", lambda text: text + "alone\n"),
        "merges.txt",
    ),
    "weights_elsewhere": (
        lambda path: (path / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
        "there is no diffusion_pytorch_model",
    ),
}
for name, (make, words) in FOLDERS.items():
    CASES[f"folder_with_{name}"] = make, words, "folder"


def peak():
    """The most memory of this process since the last `reset_peak`, in bytes (Linux)."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split("VmHWM:")[1].split()[0])


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def test_there_are_fifty_and_more():
    assert len(CASES) >= 50
    assert collections.Counter(kind for _, _, kind in CASES.values()).keys() == {
        "model.safetensors",
        "model.ckpt",
        "folder",
    }


@pytest.mark.parametrize("name", CASES)
def test_damage_is_one_clear_error(name, good, tmp_path):
    make, words, kind = CASES[name]
    source, path = good / kind, tmp_path / kind
    (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
    make(path)
    before = set(tmp_path.iterdir())
    linux = sys.platform == "linux"
    if linux:
        reset_peak()
        start = peak()
    with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
        TextToImage.load(path)
    if linux:
        assert peak() - start < MOST
    text = str(error.value)
    assert kind in text and len(text.splitlines()) < 16
    assert "Traceback" not in text and "add_safe_globals" not in text
    assert set(tmp_path.iterdir()) == before  # nothing was run
