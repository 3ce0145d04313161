"""The course's pictures: the emoji data set, the reader's own folder, and both as tensors."""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

SPLITS = ("train", "test_tone", "test_pair", "test_style")
STYLES = ("3d", "flat", "bold")
SIZES = (16, 32, 64)
SUBSETS = ("faces",)
EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def data_folder(name):
    """The folder data/NAME of the course. SDLEARN_DATA may name another place for data/."""
    root = Path(os.environ.get("SDLEARN_DATA") or Path(__file__).resolve().parents[1] / "data")
    if not (root / name).is_dir():
        raise FileNotFoundError(
            f"there is no folder {name!r} in {root}: the course reads its data from its own clone. "
            "Install it with `pip install -e .` inside the clone, or set SDLEARN_DATA to the "
            "clone's data folder"
        )
    return root / name


def verify(folder=None):
    """Compare the files of data/emoji with their checksums. Returns a list of problems."""
    folder = Path(folder) if folder else data_folder("emoji")
    if not (folder / "SHA256SUMS").is_file():
        return [f"{folder.name}/SHA256SUMS is missing"]
    problems = []
    for line in (folder / "SHA256SUMS").read_text(encoding="utf8").splitlines():
        expected, name = line.split()
        if not (folder / name).is_file():
            problems.append(f"{folder.name}/{name} is missing")
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            problems.append(f"{folder.name}/{name} is damaged or was changed")
    return problems


def _one_of(what, value, allowed):
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is not one of {', '.join(map(repr, allowed))}")


def load_emoji(split="train", size=64, style=None, subset=None):
    """The emoji data set: 10,441 captioned pictures in three styles.

    split: one of `SPLITS`, a list of them, or "all". size: 16, 32 or 64 pixels. style: "3d",
    "flat", "bold", or None for all three. subset: "faces" keeps the smiley faces (CLDR subgroups
    "face-…"), None keeps all. Returns a `datasets.Dataset` with the columns image (PIL, RGB),
    caption, caption_zh, prompt, style, key, tags, group, subgroup, skin_tone. Raises ValueError
    with the names that exist, FileNotFoundError where the data is not found.
    """
    wanted = list(SPLITS) if split == "all" else [split] if isinstance(split, str) else list(split)
    for name in wanted:
        _one_of("split", name, (*SPLITS, "all"))
    _one_of("size", size, SIZES)
    if style is not None:
        _one_of("style", style, STYLES)
    if subset is not None:
        _one_of("subset", subset, SUBSETS)

    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset

    # Read straight from the file: `load_dataset` would copy 13 MB into a cache first.
    folder = data_folder("emoji")
    table = pa.concat_tables([pq.read_table(folder / f"{name}.parquet") for name in wanted])
    keep = np.ones(len(table), bool)
    if style is not None:
        keep &= np.array(table["style"].to_pylist()) == style
    if subset == "faces":
        keep &= np.char.startswith(np.array(table["subgroup"].to_pylist(), str), "face-")
    dataset = Dataset(table.filter(pa.array(keep)))
    return dataset if size == 64 else dataset.with_transform(_Resize(size))


class _Resize:
    """Shrinks the pictures of a batch when they are asked for."""

    def __init__(self, size):
        self.size = size

    def __call__(self, batch):
        if "image" in batch:
            batch["image"] = [fit(image, self.size) for image in batch["image"]]
        return batch


def to_rgb(image):
    """Any PIL picture as RGB: turned as its EXIF says, transparency on white, 16 bits to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        top = 65535 if values.max() > 255 else 255  # 16-bit files rarely say that they are
        image = Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def fit(image, size):
    """The largest centred square of a picture, size × size pixels, RGB."""
    whole = image.width == image.height and image.width % size == 0
    # Where n × n pixels become one, their mean is exact; anything else needs a filter.
    method = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
    return ImageOps.fit(to_rgb(image), (size, size), method)


def load_images(folder_or_name, size):
    """Pictures of a folder, cut to the largest centred square and brought to size × size.

    folder_or_name: a folder of pictures as `load_dataset("imagefolder", …)` takes it (captions, if
    any, in `metadata.jsonl` or `metadata.csv`), or "photos" for the photographs of the course.
    Returns a `datasets.Dataset` with `image` (PIL, RGB) and the columns of the metadata file.
    Files that cannot be read are left out and listed in one warning. Raises FileNotFoundError
    for a folder that does not exist, ValueError when no picture in it can be used.
    """
    from datasets import Dataset, Features, load_dataset
    from datasets import Image as ImageFeature

    folder = Path(folder_or_name)
    if str(folder_or_name) == "photos":
        folder = data_folder("photos")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}: give a folder of pictures")
    with tempfile.TemporaryDirectory() as cache:
        found = load_dataset(
            "imagefolder", data_dir=str(folder), split="train", cache_dir=cache, drop_labels=True
        )
        found = found.cast_column("image", ImageFeature(decode=False))
        rows, bad = [], []
        for row in found:
            path = row["image"]["path"]
            try:
                with Image.open(path) as image:
                    rows.append({**row, "image": fit(image, size)})
            except Exception as error:  # whatever a damaged file makes Pillow raise
                bad.append(f"{Path(path).name} ({error})")
        features = Features({**found.features, "image": ImageFeature()})
    if bad:
        warnings.warn(
            f"left out {len(bad)} files that are no pictures: {', '.join(bad)}", stacklevel=2
        )
    if not rows:
        raise ValueError(f"no usable picture in {str(folder)!r}; known are {sorted(EXTENSIONS)}")
    return Dataset.from_list(rows, features=features)


def to_tensor(dataset):
    """The pictures of a dataset (or a list of PIL pictures) as [N, 3, H, W] floats in [-1, 1].

    All must have one size; ValueError names the sizes otherwise.
    """
    pictures = dataset["image"] if hasattr(dataset, "column_names") else dataset
    arrays = [np.asarray(to_rgb(p)) for p in pictures]
    if len({a.shape for a in arrays}) != 1:
        sizes = sorted({f"{a.shape[1]}x{a.shape[0]}" for a in arrays})
        raise ValueError(f"pictures of one size are needed, not {', '.join(sizes) or 'none'}")
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pil(x):
    """[3, H, W] or [B, 3, H, W] in [-1, 1] as one PIL picture or a list. Values are clamped."""
    if x.dim() == 4:
        return [to_pil(picture) for picture in x]
    if x.dim() != 3 or x.shape[0] != 3:
        raise ValueError(f"a picture is [3, H, W] or [B, 3, H, W], not {list(x.shape)}")
    x = (x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(x.round().to(torch.uint8).permute(1, 2, 0).numpy())
