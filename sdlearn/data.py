"""The course's pictures: the emoji data set, the reader's own folder, and both as tensors."""

import csv
import hashlib
import json
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

SPLITS = ("train", "test_tone", "test_pair", "test_style")
STYLES = ("3d", "flat", "bold")
SIZES = (16, 32, 64)
SUBSETS = ("faces",)
# Not every Pillow opens the last three: a picture that it cannot open is named, not passed over.
EXTENSIONS = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
EXTENSIONS |= {".avif", ".heic", ".heif"}


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
    lines = (folder / "SHA256SUMS").read_text(encoding="utf8", errors="replace").splitlines()
    expected = {name: total for total, _, name in (line.partition("  ") for line in lines)}
    problems = []
    for name in (f"{split}.parquet" for split in SPLITS):
        if name not in expected:
            problems.append(f"{folder.name}/SHA256SUMS does not list {name}")
        elif not (folder / name).is_file():
            problems.append(f"{folder.name}/{name} is missing")
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected[name]:
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
    caption, caption_zh, prompt, style, key, tags, group, subgroup, skin_tone. Sizes below 64 are
    made when a picture is read, by a transform: a `with_format` of your own would replace it.
    Raises ValueError with the names that exist, FileNotFoundError where the data is not found.
    """
    wanted = split if isinstance(split, (list, tuple)) else [split]
    for name in wanted or [split]:
        _one_of("split", name, (*SPLITS, "all"))
    names = [name for name in SPLITS if name in wanted or "all" in wanted]
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
    table = pa.concat_tables([pq.read_table(folder / f"{name}.parquet") for name in names])
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
    """Any PIL picture as RGB: turned as its EXIF says, transparency on white, 8 bits a colour."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        # Such files rarely say how bright white is: 1 (fractions only), 255 or 65535.
        top = 65535 if values.max() > 255 else 1 if image.mode == "F" and values.max() <= 1 else 255
        image = Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def fit(image, size):
    """The largest centred square of a picture, size × size pixels, RGB."""
    image = to_rgb(image)
    if image.width == image.height and image.width % size == 0:
        return image.reduce(image.width // size)  # n × n pixels become one: their exact mean
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def visible_files(folder):
    """The files of a folder and its subfolders, without those that are hidden or in hidden ones."""
    inside = ((path, path.relative_to(folder).parts) for path in sorted(folder.rglob("*")))
    # __MACOSX is where zip files from a Mac keep copies of what is no picture.
    return [
        path
        for path, parts in inside
        if path.is_file() and not any(part.startswith((".", "__MACOSX")) for part in parts)
    ]


def read_metadata(files):
    """Picture path → its row, from every metadata.jsonl and metadata.csv among the files."""
    rows = {}
    for path in (path for path in files if path.name in ("metadata.csv", "metadata.jsonl")):
        try:  # utf-8-sig: Excel's CSV begins with a mark
            with path.open(encoding="utf-8-sig", newline="") as file:
                if path.suffix == ".csv":
                    found = list(csv.DictReader(file))
                else:
                    found = [json.loads(line) for line in file if line.strip()]
        except ValueError as error:
            raise ValueError(
                f"{path} is not UTF-8 text in the form its name says: {error}"
            ) from error
        for number, row in enumerate(found, 1):
            if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                raise ValueError(
                    f"{path}, row {number}: there is no file_name, which says whose row it is"
                )
            if "image" in row:
                raise ValueError(f"{path}, row {number}: the name image is taken by the picture")
            rows[path.parent / row.pop("file_name")] = row
    return rows


def load_images(folder_or_name, size):
    """Pictures of a folder, cut to the largest centred square and brought to size × size.

    folder_or_name: a folder of pictures, with those of its subfolders, laid out as
    `load_dataset("imagefolder", …)` takes it (captions, if any, in `metadata.jsonl` or
    `metadata.csv`, one row with a `file_name` each), or "photos" for the course's photographs.
    Returns a `datasets.Dataset` with `image` (PIL, RGB) and the columns of the metadata, None
    where a picture has no row. Files that cannot be read or found are left out and listed in one
    warning. Raises FileNotFoundError for a folder that does not exist, ValueError when no picture
    in it can be used.
    """
    from datasets import Dataset

    folder = data_folder("photos") if str(folder_or_name) == "photos" else Path(folder_or_name)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size {size!r} is not a whole number of pixels, 1 or more: try 64")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}: give a folder of pictures")
    files = visible_files(folder)
    metadata = read_metadata(files)
    found = {path for path in files if path.suffix.lower() in EXTENSIONS}
    pictures, rows, bad = [], [], []
    for path in sorted(found | metadata.keys()):
        try:
            with Image.open(path) as image:
                pictures.append(fit(image, size))
            rows.append(metadata.get(path, {}))
        except Exception as error:  # whatever a damaged file makes Pillow raise
            bad.append(f"{os.path.relpath(path, folder)} ({error})")
    if bad:
        warnings.warn(f"left out {len(bad)} unusable files: {', '.join(bad)}", stacklevel=2)
    if not rows:
        raise ValueError(f"no usable picture in {str(folder)!r}; known are {sorted(EXTENSIONS)}")
    columns = dict.fromkeys(name for row in metadata.values() for name in row)
    texts = {name: [row.get(name) for row in rows] for name in columns}
    return Dataset.from_dict({"image": pictures, **texts})


def to_tensor(dataset):
    """The pictures of a dataset (or a list of PIL pictures) as [N, 3, H, W] floats in [-1, 1].

    All must have one size; ValueError names the sizes otherwise, or says that there is no picture.
    """
    if hasattr(dataset, "column_names"):  # many at once: one by one takes twice as long
        batches = dataset.select_columns("image").iter(batch_size=500)
        pictures = (picture for batch in batches for picture in batch["image"])
    else:
        pictures = dataset
    arrays = [np.asarray(to_rgb(picture)) for picture in pictures]
    if not arrays:
        raise ValueError("there is no picture in this data set, so there is no tensor of them")
    sizes = sorted({f"{a.shape[1]}x{a.shape[0]}" for a in arrays})
    if len(sizes) > 1:
        raise ValueError(f"pictures of one size are needed, not of {', '.join(sizes)} (see `fit`)")
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_pil(x):
    """[3, H, W] or [B, 3, H, W] in [-1, 1] as one PIL picture or a list. Values are clamped."""
    if x.dim() == 4:
        return [to_pil(picture) for picture in x]
    if x.dim() != 3 or x.shape[0] != 3:
        raise ValueError(f"a picture is [3, H, W] or [B, 3, H, W], not {list(x.shape)}")
    x = (x.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(x.round().to(torch.uint8).permute(1, 2, 0).numpy())
