"""Files of weights, opened with care: `.safetensors`, and pickled `.ckpt` with nothing but tensors.

A pickle is a program: opening one can run whatever its author wanted. So it is read by torch's
`weights_only` reader, which knows tensors and plain containers and refuses the rest.
"""

import math
import pickle
import re
import zipfile
from collections import Counter, namedtuple
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

GROUP = 256 * 2**20  # bytes that are read before the file is closed, and its pages given back
PICKLE = 64 * 2**20  # bytes of a pickle without the tensors' numbers; those of SD 1.x have 0.4 MB
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}
DTYPES |= {"U8": torch.uint8, "BOOL": torch.bool}
DTYPES |= {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
LARGER = (
    "holds more than its size: no weights do, but a file made to fill the memory does, so it is "
    "refused"
)
ROWS = "missing", "other shape", "not expected"  # what is wrong with a tensor
SPARE = "Ask its author for a .safetensors file, or look for one where you found it"


class Entry(namedtuple("Entry", ["shape", "dtype"])):
    """What is known of a tensor before it is read."""

    @property
    def size(self):
        """Its bytes; of a dtype that torch does not know, at least as many."""
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype else 8)

    @property
    def is_float(self):
        return self.dtype is not None and self.dtype.is_floating_point


class Unneeded:
    """Stands for what the first Stable Diffusion files hold beside weights, and does nothing."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


UNNEEDED = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
HARMLESS = [
    type(name, (Unneeded,), {"__module__": module})
    for module, _, name in (path.rpartition(".") for path in UNNEEDED)
]


class WeightFile:
    """The tensors of a file: `entries` is {name: Entry(shape, dtype)}; their numbers stay there.

    path: `.safetensors`, or a pickle as torch.save writes it (.ckpt, .pt, .bin), bare or wrapped
    in "state_dict". Raises FileNotFoundError, or ValueError that says what is wrong with the file.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {str(path)!r}")
        with open(self.path, "rb") as file:
            start = file.read(16)
        if not start:
            raise ValueError(f"{path} is empty: was it downloaded to the end?")
        if start.startswith((b"<", b"version https")):
            raise ValueError(
                f"{path} is a text where weights should be (a page, or a pointer of Git LFS): "
                "download the file itself"
            )
        self.safe = self.path.suffix == ".safetensors" or start[8:9] == b"{"
        if self.safe:
            with self._open() as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                self.entries = {
                    name: Entry(tuple(s.get_shape()), DTYPES.get(s.get_dtype()))
                    for name, s in slices.items()
                }
        else:
            sizes = check_zip(self.path)
            tensors = unpickle(self.path)
            stored = {x.untyped_storage().data_ptr(): x.untyped_storage() for x in tensors.values()}
            if Counter(storage.nbytes() for storage in stored.values()) - sizes:
                raise ValueError(f"{path} is damaged: a tensor has more numbers than were stored")
            self.entries = {name: Entry(tuple(x.shape), x.dtype) for name, x in tensors.items()}
            if sum(x.size for x in self.entries.values()) > 2 * self.path.stat().st_size:
                raise ValueError(f"{path} {LARGER}")  # one number, said to be a thousand
        if not self.entries:
            raise ValueError(f"{path} holds no tensors")

    def _open(self):
        try:
            return safe_open(self.path, "pt")
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{self.path} is damaged, or is no safetensors file: {error}"
            ) from error

    def read(self, names, dtype=torch.float32):
        """Gives (name, tensor) one by one, floating-point numbers in `dtype`, as copies.

        The file is mapped, and opened anew after each `GROUP` bytes. So what is in memory at any
        time is the tensors that were given, and not the file beside them.
        """
        for group in groups(names, self.entries):
            if self.safe:
                with self._open() as file:
                    for name in group:
                        yield name, copied(file.get_tensor(name), dtype)
            else:
                tensors = unpickle(self.path)
                for name in group:
                    yield name, copied(tensors[name], dtype)
                del tensors


def copied(x, dtype):
    dtype = dtype if x.is_floating_point() else x.dtype
    return x.detach().to(dtype, copy=True).contiguous()


def groups(names, entries):
    """The names in lists of about `GROUP` bytes each."""
    group, size = [], 0
    for name in names:
        group.append(name)
        size += entries[name].size
        if size > GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def check_zip(path):
    """Raises ValueError unless a file is a zip as torch.save writes it: nothing compressed.

    Returns a Counter of its members' sizes in bytes: each storage of tensors is one of them.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is neither a safetensors file nor a whole .ckpt of PyTorch 1.6 or later: "
            "was it downloaded to the end?"
        )
    try:
        with zipfile.ZipFile(path) as file:
            infos = file.infolist()
            pickles = [info for info in infos if info.filename.endswith("data.pkl")]
            if any(info.filename.endswith("constants.pkl") for info in infos):
                raise ValueError(f"{path} is a program of TorchScript, not weights. {SPARE}")
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
            if packed or sum(info.file_size for info in infos) > path.stat().st_size:
                raise ValueError(f"{path} {LARGER}")
            if len(pickles) != 1 or pickles[0].file_size > PICKLE:
                raise ValueError(f"{path} is a zip, but not one that PyTorch wrote")
            # The one thing that torch's careful reader makes in any size that it is told.
            if b"\nbytearray\n" in file.read(pickles[0]):
                raise ValueError(f"{path} {LARGER}")
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return Counter(info.file_size for info in infos)


def unpickle(path):
    """The tensors of a pickle by name, mapped into memory. Raises ValueError for anything else."""
    try:
        with torch.serialization.safe_globals(HARMLESS):
            found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"`{wanted[1]}`" if wanted else "more than tensors"
        raise ValueError(
            f"{path} asks for {what} when it is opened. Weights are tensors and nothing else; this "
            f"file could run a stranger's program, so it is refused. {SPARE}"
        ) from error
    except Exception as error:  # the reader meets damage in many ways
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is damaged: {reason}") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not named tensors")
    return {
        name: x
        for name, x in found.items()
        if isinstance(name, str) and isinstance(x, torch.Tensor) and is_plain(x)
    }


def is_plain(x):
    """Whether a tensor has all its numbers, one by one, in memory that the CPU sees."""
    plain = x.layout == torch.strided and not x.is_nested and not x.is_quantized
    return plain and x.device.type == "cpu"


# What else a file of weights may be: a part of a tensor's name that only such files have.
KINDS = {
    "conditioner.embedders": "Stable Diffusion XL, which has another U-Net and two text encoders",
    "joint_blocks": "Stable Diffusion 3, which has a transformer in place of the U-Net",
    "double_blocks": "Flux, which has a transformer in place of the U-Net",
    "lora": "a LoRA: small changes to a model, to be added to one",
    "control_model": "a ControlNet, which steers a model and is none",
    "controlnet_cond_embedding": "a ControlNet, which steers a model and is none",
    "input_hint_block": "a ControlNet, which steers a model and is none",
    "emb_params": "a textual inversion: a learnt word for a model",
    "string_to_param": "a textual inversion: a learnt word for a model",
    "model.diffusion_model.": "a Stable Diffusion of a kind that is not built here",
    "optimiser.": "a checkpoint of this course's training loop",
    "down_blocks.0.resnets": "one network of a folder in diffusers' layout: give the whole folder",
    "encoder.down.0.block": "an autoencoder alone",
    "text_model.encoder": "a text encoder alone",
}


def kind_of(names):
    """What a file with tensors of these names looks like, as the end of a sentence."""
    found = [kind for part, kind in KINDS.items() if any(part in name for name in names)]
    return found[0] if found else "nothing known"


def check_numbers(file, names):
    """Raises ValueError unless the tensors of these names are floating-point numbers."""
    other = [name for name in names if name in file.entries and not file.entries[name].is_float]
    if other:
        kind = str(file.entries[other[0]].dtype or "numbers unknown to torch").removeprefix(
            "torch."
        )
        raise ValueError(
            f"{file.path}: {len(other)} tensors, {other[0]} the first, are {kind}, where weights "
            "are floating-point numbers. Quantised models cannot be read: take one in float16 or "
            "float32"
        )


def check_fit(file, expected, surplus):
    """Raises ValueError unless a file has the tensors {name: shape} that are expected of it.

    surplus: names that it should not have.
    """
    shapes = {name: entry.shape for name, entry in file.entries.items()}
    missing = [name for name in expected if name not in shapes]
    other = [name for name in expected if name in shapes and shapes[name] != tuple(expected[name])]
    if not missing and not other and not surplus:
        return
    rows = [("missing", name, list(expected[name]), "-") for name in missing]
    rows += [("other shape", name, list(expected[name]), list(shapes[name])) for name in other]
    rows += [("not expected", name, "-", list(shapes[name])) for name in surplus]
    counts = f"{len(missing)} missing, {len(other)} of another shape, {len(surplus)} not expected"
    shown = [row for what in ROWS for row in [row for row in rows if row[0] == what][:4]]
    lines = [f"  {what:13} {name:60} {a!s:>18} {b!s:>18}" for what, name, a, b in shown]
    raise ValueError(
        f"{file.path} does not fit: of {len(expected)} tensors {counts}. It looks like "
        f"{kind_of(shapes)}.\n  {'':13} {'tensor':60} {'expected':>18} {'in the file':>18}\n"
        + "\n".join(lines)
    )
