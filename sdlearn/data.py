"""The course's pictures: the emoji data set, the reader's own folder, and both as tensors."""

import contextlib
import csv
import hashlib
import json
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

SPLITS = ("train", "test_tone", "test_pair", "test_style")
STYLES = ("3d", "flat", "bold")
SIZES = (16, 32, 64)
SUBSETS = ("faces",)
# Besides those of Pillow: what cameras and browsers save, and not every Pillow opens. A file whose
# name says that it is a picture is never passed over: it is used, or named with the reason.
EXTENSIONS = {".avif", ".heic", ".heif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
# Recognised by how they begin, whatever the name says.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


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
    image.load()  # a damaged picture fails here, before the damage of its EXIF is forgiven
    with contextlib.suppress(Exception):  # as Pillow has no one error for unreadable EXIF
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).any():
            raise ValueError("every pixel is NaN or infinite")
        largest = values[np.isfinite(values)].max()
        # Such files rarely say how bright white is: 1 (fractions only), 255 or 65535.
        top = 65535 if largest > 255 else 1 if image.mode == "F" and largest <= 1 else 255
        values = np.nan_to_num(values, nan=0, posinf=top, neginf=0).clip(0, top)
        image = Image.fromarray((values / top * 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def fit(image, size):
    """The largest centred square of a picture, size × size pixels, RGB."""
    image = to_rgb(image)
    times = image.width // size
    if image.width == image.height == times * size and times <= 64:  # Pillow's mean darkens beyond
        return image.reduce(times)  # n × n pixels become one: their exact mean
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def visible_files(folder):
    """The files of a folder and its subfolders, without those that are hidden or in hidden ones."""
    inside = ((path, path.relative_to(folder).parts) for path in sorted(folder.rglob("*")))
    # __MACOSX is where zip files from a Mac keep copies of what is no picture.
    return [
        path
        for path, parts in inside
        # A link that leads nowhere is one too: whoever asks for it hears that it is missing.
        if (path.is_file() or not path.exists())
        and not any(part.startswith((".", "__MACOSX")) for part in parts)
    ]


def read_metadata(files):
    """Picture path → list of its rows, from each metadata.jsonl and metadata.csv of the files."""
    rows = {}
    for path in (path for path in files if path.name in ("metadata.csv", "metadata.jsonl")):
        try:  # utf-8-sig: Excel's CSV begins with a mark
            with path.open(encoding="utf-8-sig", newline="") as file:
                if path.suffix == ".csv":  # an empty cell is None, as for `imagefolder`
                    found = [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]
                else:
                    found = [json.loads(line) for line in file if line.strip()]
        except ValueError as error:
            what = "is not UTF-8 text in the form its name says"
            raise ValueError(f"{path} {what}: {error}") from error
        for number, row in enumerate(found, 1):
            where = f"{path}, row {number}"
            if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                raise ValueError(f"{where}: there is no file_name, which says whose row it is")
            if None in row:
                raise ValueError(f"{where}: more cells than columns: put commas inside quotes")
            if "image" in row:
                raise ValueError(f"{where}: the name image is taken by the picture")
            name = os.path.normpath(row.pop("file_name"))
            if os.path.isabs(name) or name.startswith(".."):
                raise ValueError(f"{where}: file_name {name!r} lies outside of {path.parent}")
            rows.setdefault(path.parent / name, []).append(row)
    return rows


def load_images(folder_or_name, size):
    """Pictures of a folder, cut to the largest centred square and brought to size × size.

    folder_or_name: a folder of pictures, with those of its subfolders, laid out as
    `load_dataset("imagefolder", …)` takes it (captions, if any, in `metadata.jsonl` or
    `metadata.csv`, one row with a `file_name` each), or "photos" for the course's photographs.
    Returns a `datasets.Dataset` with `image` (PIL, RGB) and the columns of the metadata, None
    where a picture has no row; one with several rows comes once for each. All are held in memory,
    3·size² bytes each: 100,000 pictures of 64 pixels are 1.2 GB. Of an animation the first frame
    counts, and cells of a CSV file stay text. Files that cannot be read or found are left out and
    listed in one warning, with the reason. Raises FileNotFoundError for a folder that does not
    exist, ValueError when the metadata is no table or no picture can be used.
    """
    import pyarrow as pa
    from datasets import Dataset

    folder = data_folder("photos") if str(folder_or_name) == "photos" else Path(folder_or_name)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size {size!r} is not a whole number of pixels, 1 or more: try 64")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}: give a folder of pictures")
    files = visible_files(folder)
    metadata = read_metadata(files)
    known = EXTENSIONS | {e for e, f in Image.registered_extensions().items() if f in Image.OPEN}
    reasons = {UnidentifiedImageError: "empty, or not a picture that Pillow can open"}
    reasons[FileNotFoundError] = "there is no such file"
    pictures, rows, bad = [], [], []
    for path in sorted({*files, *metadata}):
        meant = path in metadata or path.suffix.lower() in known
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, on large or odd files, name no file
                with Image.open(path, formats=None if meant else FORMATS) as image:
                    picture = fit(image, size)
        except Exception as error:  # whatever a damaged file makes Pillow raise
            if meant:
                reason = reasons.get(type(error), str(error) or repr(error))
                bad.append(f"{path.relative_to(folder)} ({reason})")
            continue
        for row in metadata.get(path, [{}]):
            pictures.append(picture)
            rows.append(row)
    if bad:
        warnings.warn(f"left out {len(bad)} unusable files: {', '.join(bad)}", stacklevel=2)
    if not rows:
        raise ValueError(f"no usable picture in {str(folder)!r}: PNG, JPEG or WebP files are best")
    columns = dict.fromkeys(name for table in metadata.values() for row in table for name in row)
    texts = {name: [row.get(name) for row in rows] for name in columns}
    try:
        return Dataset.from_dict({"image": pictures, **texts})
    except pa.ArrowException as error:
        raise ValueError(f"the metadata has a column of mixed types: {error}") from error


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
