"""The data set, the photographs and what loads them."""

import csv
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, features

from sdlearn import data

ROOT = Path(__file__).resolve().parents[1]
EMOJI = ROOT / "data" / "emoji"
COUNTS = {"train": 9482, "test_tone": 399, "test_pair": 406, "test_style": 154}
TONES = {"light", "medium-light", "medium", "medium-dark", "dark"}


def columns(split, *names):
    """Some columns as lists, without decoding a picture."""
    table = data.load_emoji(split).data.table
    return [table[name].to_pylist() for name in names]


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_emoji", ROOT / "tools" / "build_emoji.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def splits(builder):
    return builder.read_splits(EMOJI / "splits.tsv")


# --- the rows -------------------------------------------------------------------------------------


def test_split_list_is_the_agreed_one(splits):
    assert Counter(row["split"] for row in splits) == COUNTS
    assert list(splits[0]) == ["key", "style", "split", "caption", "caption_zh"]
    assert len({(row["key"], row["style"]) for row in splits}) == len(splits) == 10441


@pytest.mark.parametrize("split", COUNTS)
def test_every_row_of_the_split_list_is_there(splits, split):
    want = [
        (row["key"], row["style"], row["caption"], row["caption_zh"])
        for row in splits
        if row["split"] == split
    ]
    have = list(zip(*columns(split, "key", "style", "caption", "caption_zh")))
    assert have == want


def test_other_columns():
    names = ("caption", "style", "prompt", "tags", "group", "subgroup", "skin_tone")
    for caption, style, prompt, tags, group, subgroup, tone in zip(*columns("all", *names)):
        assert prompt == f"{caption}, {style} style"
        assert tags and all(tag and isinstance(tag, str) for tag in tags)
        assert group != "component" and not subgroup.endswith("country-flag")
        parts = tone.split(" and ") if tone else []
        assert set(parts) <= TONES
        assert len(set(re.findall(r"[\w-]+(?= skin)", caption))) == len(parts), caption
        assert all(f"{part} skin" in caption for part in parts), caption


def test_test_splits_hold_out_what_they_say():
    train_captions, train_styles = columns("train", "caption", "style")
    words = re.compile(r"[\w']+").findall  # "two-thirty" is two words
    known_words = {word for caption in train_captions for word in words(caption)}
    known = set(train_captions)
    for split in ("test_tone", "test_pair"):
        [captions] = columns(split, "caption")
        assert not known & set(captions)
        assert {word for caption in captions for word in words(caption)} <= known_words
    known_pairs = set(zip(train_captions, train_styles))
    for caption, style in zip(*columns("test_style", "caption", "style")):
        assert (caption, style) not in known_pairs and caption in known
    assert all(columns("test_tone", "skin_tone")[0])


# --- the pictures ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything():
    """All pictures as bytes, [10441, 64, 64, 3], the training split first."""
    dataset = data.load_emoji("all").select_columns("image")
    return np.stack([np.asarray(p) for batch in dataset.iter(500) for p in batch["image"]])


@pytest.fixture(scope="module")
def pixels(everything):
    """The same by style."""
    styles = np.array(columns("all", "style")[0])
    return {style: everything[styles == style] for style in data.STYLES}


def test_no_test_picture_is_nearly_a_training_picture(everything):
    small = torch.from_numpy(everything).view(-1, 16, 4, 16, 4, 3).float().mean((2, 4)).flatten(1)
    train, test = small[: COUNTS["train"]], small[COUNTS["train"] :]
    distance = torch.cdist(test, train).min(1).values / train.shape[1] ** 0.5
    # In grey levels, root mean square. Saving as WebP once more moves a picture by 2 at most.
    assert distance.min() > 4


def test_pictures_are_rgb_on_white_and_not_blank(pixels):
    assert sum(map(len, pixels.values())) == 10441
    for style, pictures in pixels.items():
        assert pictures.shape[1:] == (64, 64, 3) and pictures.dtype == np.uint8
        spread = pictures.reshape(len(pictures), -1).astype(np.float32).std(1)
        assert spread.min() > 2, style  # the palest, Twemoji's light grey "white square", has 2.5
        corners = pictures[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(len(pictures), -1)
        assert (corners.min(1) > 245).mean() > 0.75, style  # the others reach into a corner


def test_pictures_are_centred(pixels):
    for style, pictures in pixels.items():
        ink = pictures.min(3) < 245
        for axis in (1, 2):
            line = ink.any(axis)
            centre = (line.argmax(1) + 63 - line[:, ::-1].argmax(1)) / 2
            assert abs(np.median(centre) - 31.5) <= 0.5, style
            assert np.mean(np.abs(centre - 31.5) > 8) < 0.02, style


def test_the_same_picture_comes_only_once_in_a_style(pixels):
    # The rule is about pixels before WebP: a few pairs that differed by a hair meet after it.
    for style, pictures in pixels.items():
        assert len(pictures) - len({p.tobytes() for p in pictures}) <= 3, style


@pytest.mark.parametrize("size", data.SIZES)
def test_load_emoji_sizes(size):
    row = data.load_emoji("test_style", size)[0]
    assert isinstance(row["image"], Image.Image)
    assert row["image"].mode == "RGB" and row["image"].size == (size, size)
    assert row["caption"] == "face blowing a kiss" and row["caption_zh"] == "飞吻"


def test_smaller_pictures_are_the_mean_of_their_pixels():
    large = data.to_tensor(data.load_emoji("test_style", 64))
    small = data.to_tensor(data.load_emoji("test_style", 16))
    want = torch.nn.functional.avg_pool2d(large, 4)
    assert (small - want).abs().max() <= 0.501 / 127.5  # half a grey level: rounding, no more


def test_a_large_picture_keeps_its_brightness():
    # Pillow's `reduce` by 400 makes 253 of 255, because of how it rounds.
    assert data.fit(Image.new("RGB", (3200, 3200), "white"), 8).getpixel((4, 4)) == (255,) * 3


def test_load_emoji_chooses():
    assert len(data.load_emoji()) == COUNTS["train"]
    assert len(data.load_emoji("all")) == len(data.load_emoji(["all", "train"])) == 10441
    both = data.load_emoji(["test_tone", "test_pair"], style="bold")
    assert set(both.data.table["style"].to_pylist()) == {"bold"} and len(both) == 146 + 142
    faces = data.load_emoji("all", subset="faces")
    assert len(faces) == 353
    assert all(name.startswith("face-") for name in faces.data.table["subgroup"].to_pylist())
    assert len(data.load_emoji("test_tone", subset="faces")) == 0


@pytest.mark.parametrize(
    "wrong, names",
    [
        ({"split": "test"}, ["'test'", *data.SPLITS, "all"]),
        ({"split": ["train", "valid"]}, ["'valid'", *data.SPLITS]),
        ({"split": []}, ["[]", *data.SPLITS]),
        ({"split": None}, ["None", *data.SPLITS]),
        ({"size": 128}, ["128", "16", "32", "64"]),
        ({"style": "4d"}, ["'4d'", *data.STYLES]),
        ({"subset": "cats"}, ["'cats'", "faces"]),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(wrong, names):
    with pytest.raises(ValueError) as caught:
        data.load_emoji(**wrong)
    for name in names:
        assert name in str(caught.value)


def test_missing_data_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SDLEARN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="SDLEARN_DATA"):
        data.load_emoji()


def test_data_elsewhere(monkeypatch, tmp_path):
    shutil.copytree(EMOJI, tmp_path / "emoji")
    monkeypatch.setenv("SDLEARN_DATA", str(tmp_path))
    (tmp_path / "emoji" / "train.parquet").unlink()
    assert len(data.load_emoji("test_pair")) == COUNTS["test_pair"]
    with pytest.raises(FileNotFoundError):
        data.load_emoji("train")


def test_loading_is_quiet_and_leaves_no_file(tmp_path):
    code = "from sdlearn.data import load_emoji, to_tensor\nto_tensor(load_emoji('test_style', 32))"
    blocked = tmp_path / "a file, so no folder can be made here"
    blocked.write_text("")
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "HF_HOME": str(blocked / "hf"), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_DATASETS_CACHE", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "%|" not in done.stderr and "examples" not in done.stderr
    assert not list(work.iterdir())


# --- the files ------------------------------------------------------------------------------------


def test_load_dataset_opens_the_folder(tmp_path):
    from datasets import load_dataset

    opened = load_dataset(str(EMOJI), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in opened.items()} == COUNTS
    row = opened["test_pair"][0]
    assert row["image"].size == (64, 64) and row["image"].mode == "RGB"
    assert isinstance(row["tags"], list)
    assert opened["train"].column_names == data.load_emoji().column_names


def test_files_are_small_enough():
    assert sum(path.stat().st_size for path in EMOJI.iterdir()) <= 15e6
    assert sum(path.stat().st_size for path in (ROOT / "data" / "photos").iterdir()) <= 3e6


def test_verify(tmp_path):
    assert data.verify() == [] == data.verify(EMOJI)
    folder = shutil.copytree(EMOJI, tmp_path / "emoji")
    path = folder / "test_tone.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    [problem] = data.verify(folder)
    assert "emoji/test_tone.parquet" in problem and "damaged" in problem
    (folder / "train.parquet").unlink()
    assert len(data.verify(folder)) == 2
    sums = folder / "SHA256SUMS"
    sums.write_text("nonsense\n", encoding="utf8")
    assert len(data.verify(folder)) == 4
    sums.unlink()
    assert data.verify(folder) == ["emoji/SHA256SUMS is missing"]


def test_notice_names_every_source(builder):
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf8").split())
    for package in builder.PACKAGES.values():
        name, _, version = package.rpartition("@")
        assert f"{name} {version}" in notice
    for author in ("Microsoft Corporation", "LobeHub", "Google Inc", "Twitter, Inc", "Unicode, Inc",
                   "Miles Johnson", "scikit-image 0.26.0", "OpenAI"):  # fmt: skip
        assert author in notice
    for sentence in (
        "to deal in the Software without restriction",  # MIT
        "END OF TERMS AND CONDITIONS",  # Apache 2.0
        "Section 8 – Interpretation.",  # CC BY 4.0
        "Except as contained in this notice, the name of a copyright holder",  # Unicode
        "Affirmer understands and acknowledges that Creative Commons is not a",  # CC0
    ):
        assert sentence in notice
    assert notice.count("Changed:") == 6
    for row in photo_rows():
        assert row["file_name"] in notice and row["author"].split(" (")[0] in notice


# --- the builder ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label, subgroup, want",
    [
        ("grinning face", "face-smiling", "grinning face"),
        ("woman health worker: light skin tone", "person-role",
         "woman health worker with light skin"),
        ("man: dark skin tone, bald", "person", "man with dark skin and bald head"),
        ("woman: red hair", "person", "woman with red hair"),
        ("kiss: woman, man", "family", "kiss of woman and man"),
        ("family: man, woman, girl, boy", "family", "family of man, woman, girl and boy"),
        ("kiss: woman, man, light skin tone, dark skin tone", "family",
         "kiss of woman with light skin and man with dark skin"),
        ("handshake: light skin tone, dark skin tone", "hands",
         "handshake with light skin and dark skin"),
        ("man running: medium skin tone, facing right", "person-activity",
         "man running with medium skin facing right"),
        ("keycap: 5", "keycap", "keycap 5"),
        ("three o’clock", "time", "clock face showing three o'clock"),
        ("seven-thirty", "time", "clock face showing seven-thirty"),
        ("hourglass done", "time", "hourglass done"),
    ],
)  # fmt: skip
def test_captions(builder, label, subgroup, want):
    assert builder.caption(label, subgroup) == want


def test_key_spelling(builder):
    assert builder.normal("0023-fe0f-20e3") == "23-20E3"
    assert builder.normal("1f9d1-1f3fb-200d-2695-fe0f") == "1F9D1-1F3FB-200D-2695"


def test_on_white_pads_and_does_not_darken_edges(builder):
    # Opaque red beside transparent black: blending before the white would darken the border.
    picture = Image.new("RGBA", (100, 50))
    picture.paste((255, 0, 0, 255), (0, 0, 47, 50))
    array = np.asarray(builder.on_white(picture)).astype(int)
    assert array.shape == (64, 64, 3)
    assert array[:14].min() >= 250 and array[-14:].min() >= 250  # padded above and below
    assert (array[32, :28] == (255, 0, 0)).all() and array[32, 34:].min() >= 250
    assert array[..., 0].min() >= 250  # never darker than red or white


def test_differences_are_found(builder, splits):
    rows = [dict(row) for row in splits[:5]]
    assert not list(builder.differences(rows, splits[:5]))
    rows[1]["caption"] += "!"
    rows[2]["caption_zh"] = ""
    assert len(list(builder.differences(rows[:4], splits[:5]))) == 3
    assert len(list(builder.differences(rows[3:], splits[:4]))) == 4


def test_written_split_reads_back(builder, tmp_path):
    rows = [row | {"image": {"bytes": b"x", "path": "x"}} for row in [dict.fromkeys(
        builder.COLUMNS, "text")]]  # fmt: skip
    rows[0]["tags"] = ["a", "b"]
    for name in ("one.parquet", "two.parquet"):
        builder.write_split(tmp_path / name, rows)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert pa.parquet.read_table(tmp_path / "one.parquet").to_pylist() == rows


# --- tensors --------------------------------------------------------------------------------------


def test_to_tensor_and_back():
    chosen = data.load_emoji("test_pair", 32).select(range(20))
    x = data.to_tensor(chosen)
    assert x.shape == (20, 3, 32, 32) and x.dtype == torch.float32
    assert x.is_contiguous()  # `x.view(20, -1)` works
    assert x.min() >= -1 and x.max() == 1
    for picture, back, row in zip(x, data.to_pil(x), chosen):
        assert np.array_equal(np.asarray(back), np.asarray(row["image"]))
        assert data.to_pil(picture).tobytes() == back.tobytes()
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    levels = Image.fromarray(np.stack([values] * 3, 2))
    assert np.array_equal(np.asarray(data.to_pil(data.to_tensor([levels])[0])), np.asarray(levels))


def test_to_tensor_keeps_the_order_over_many_batches():
    dataset = data.load_emoji("test_pair", 16, style=None)
    both = data.load_emoji(["test_tone", "test_pair"], 16)
    assert torch.equal(data.to_tensor(both)[399:], data.to_tensor(dataset))
    assert torch.equal(data.to_tensor(both)[700], data.to_tensor([both[700]["image"]])[0])


def test_to_tensor_refuses():
    with pytest.raises(ValueError, match="8x8, 9x8"):
        data.to_tensor([Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))])
    with pytest.raises(ValueError, match="no picture"):
        data.to_tensor([])


def test_to_pil_clamps_and_refuses():
    x = torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1).requires_grad_()
    assert data.to_pil(x.half()).getpixel((0, 0)) == (0, 128, 255)
    for shape in ((1, 8, 8), (8, 8), (8, 8, 3)):
        with pytest.raises(ValueError, match=re.escape(str(list(shape)))):
            data.to_pil(torch.zeros(shape))


# --- folders of pictures --------------------------------------------------------------------------


def photo_rows():
    lines = (ROOT / "data" / "photos" / "metadata.jsonl").read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def test_photos():
    rows = photo_rows()
    files = {path.name for path in (ROOT / "data" / "photos").glob("*.jpg")}
    assert {row["file_name"] for row in rows} == files and len(files) >= 10
    assert {row["licence"] for row in rows} == {"CC0 1.0", "public domain"}
    assert all(row["caption"] and row["source"] and row["author"] for row in rows)
    card = (ROOT / "data" / "photos" / "README.md").read_text(encoding="utf8")
    assert all(f"| {row['file_name']} |" in card for row in rows)
    for path in (ROOT / "data" / "photos").glob("*.jpg"):
        with Image.open(path) as picture:
            assert max(picture.size) <= 512
    loaded = data.load_images("photos", 48)
    assert sorted(loaded["caption"]) == sorted(row["caption"] for row in rows)
    assert data.to_tensor(loaded).shape == (len(rows), 3, 48, 48)


def odd_pictures():
    """File name → (picture, the colour it must have in the middle, save options)."""
    red, grey = (254, 0, 0), (100, 100, 100)
    clear = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    half = Image.new("RGBA", (40, 30), (*red, 255))
    palette = half.convert("RGB").quantize(4)
    sixteen = Image.fromarray(np.full((30, 40), 100 * 257, np.uint16))
    return {
        "palette.png": (palette, red, {}),
        "palette.gif": (palette, red, {}),
        "clear.png": (clear, (255, 255, 255), {}),
        "grey.png": (Image.new("L", (40, 30), 100), grey, {}),
        "grey_alpha.png": (Image.new("LA", (40, 30), (0, 0)), (255, 255, 255), {}),
        "bits.png": (Image.new("1", (40, 30), 1), (255, 255, 255), {}),
        "key.png": (Image.new("RGB", (40, 30), red), (255, 255, 255), {"transparency": red}),
        "sixteen.png": (sixteen, grey, {}),
        "sixteen.tif": (sixteen, grey, {}),
        "float.tif": (Image.fromarray(np.full((30, 40), 100 / 255, np.float32)), grey, {}),
        "cmyk.jpg": (Image.new("CMYK", (40, 30), (0, 255, 255, 0)), red, {"quality": 95}),
        "UPPER.JPG": (Image.new("RGB", (40, 30), grey), grey, {"quality": 95}),
    }


def test_odd_modes_in_a_folder(tmp_path):
    folder = tmp_path / "my pictures é"
    folder.mkdir()
    odd = odd_pictures()
    for name, (picture, _, options) in odd.items():
        picture.save(folder / name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = data.load_images(folder, 16)
    assert loaded.column_names == ["image"]
    for name, row in zip(sorted(odd), loaded):
        assert row["image"].mode == "RGB" and row["image"].size == (16, 16)
        have, want = row["image"].getpixel((8, 8)), odd[name][1]
        assert max(abs(a - b) for a, b in zip(have, want)) <= 3, (name, have)  # JPEG rounds


def test_exif_rotation_and_centre_crop(tmp_path):
    # Four bands from left to right; the square in the middle is the two inner ones.
    bands = Image.new("RGB", (64, 32))
    for i, colour in enumerate(("black", "red", "blue", "white")):
        bands.paste(colour, (16 * i, 0, 16 * i + 16, 32))
    assert data.fit(bands, 16).getpixel((3, 8)) == (255, 0, 0)
    assert data.fit(bands, 16).getpixel((12, 8)) == (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter to the right: red above, blue below
    bands.save(tmp_path / "turned.png", exif=exif)
    image = data.load_images(tmp_path, 16)[0]["image"]
    assert image.getpixel((8, 3)) == (255, 0, 0) and image.getpixel((8, 12)) == (0, 0, 255)


def test_captions_of_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.png", "c.png", "sub/d.png", ".hidden.png"):
        Image.new("RGB", (20, 20), "red").save(tmp_path / name)
    lines = [{"file_name": "a.png", "caption": "ein Bär"}, {"file_name": "b.png", "caption": "二"}]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n"
    (tmp_path / "metadata.jsonl").write_text(text, encoding="utf8")
    table = '\ufefffile_name,caption\nd.png,"one, two"\n'  # with the mark that Excel writes
    (tmp_path / "sub" / "metadata.csv").write_text(table, encoding="utf8")
    assert data.load_images(tmp_path, 16)["caption"][:] == ["ein Bär", "二", None, "one, two"]
    (tmp_path / "metadata.jsonl").write_text('{"name": "a.png"}\n', encoding="utf8")
    with pytest.raises(ValueError, match="row 1: there is no file_name"):
        data.load_images(tmp_path, 16)


def test_unreadable_files_are_listed_not_hidden(tmp_path):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:50])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "notes.txt").write_text("not meant to be one")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "gone.png", "caption": "x"}\n')
    with pytest.warns(UserWarning) as caught:
        loaded = data.load_images(tmp_path, 16)
    [message] = [str(w.message) for w in caught]
    assert len(loaded) == 1 and "left out 3" in message and "notes.txt" not in message
    assert all(name in message for name in ("cut.png", "text.jpg", "gone.png"))
    (tmp_path / "good.png").unlink()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no usable picture"):
        data.load_images(tmp_path, 16)


def save_broken_pictures(folder):
    """Files that no Pillow can use, each with a part of the reason that the reader is told."""
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 255, (60, 80, 3), np.uint8))
    kinds = {"PNG": {}, "JPEG": {"progressive": True}, "GIF": {}, "BMP": {}, "TIFF": {}, "WEBP": {}}
    reasons = {}
    for kind, options in kinds.items():
        picture.save(folder / f"cut.{kind.lower()}", kind, **options)
        whole = (folder / f"cut.{kind.lower()}").read_bytes()
        (folder / f"cut.{kind.lower()}").write_bytes(whole[: len(whole) * 6 // 10])
        reasons[f"cut.{kind.lower()}"] = "decoder" if kind == "WEBP" else "truncated"
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "camera.CR2").write_bytes(b"II*\0 and then what no Pillow reads")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    # Five gigapixels in a few bytes: the header alone says so.
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    ]
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(folder / "nan.tif")
    known = {
        "zero.png": "empty",
        "text.png": "not a picture",
        "camera.CR2": "not a picture",
        "drawing.svg": "not a picture",
        "link.jpg": "no such file",
        "bomb.png": "2500000000 pixels",
        "nan.tif": "every pixel is NaN",
    }
    return reasons | known


def test_every_broken_picture_is_named_with_its_reason(tmp_path):
    reasons = save_broken_pictures(tmp_path)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "good.png")
    with pytest.warns(UserWarning) as caught:
        loaded = data.load_images(tmp_path, 16)
    [message] = [str(w.message) for w in caught]
    assert len(loaded) == 1 and f"left out {len(reasons)} unusable" in message
    assert str(tmp_path) not in message  # the names are enough, and can be read
    for name, reason in reasons.items():
        assert reason in message.split(f"{name} (")[1][:60], (name, message)


def test_usable_pictures_are_used_whatever_their_kind(tmp_path, monkeypatch):
    red, others = Image.new("RGB", (40, 30), "red"), [Image.new("RGB", (40, 30), "blue")]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):  # of an animation: the first frame
        red.save(tmp_path / name, save_all=True, append_images=others, lossless=True)
    for name in ("b.ppm", "b.tga", "b.ico", "b.jp2", "b.pcx", "b.dib"):
        red.save(tmp_path / name)
    red.save(tmp_path / "no ending", "JPEG", quality=95)
    red.save(tmp_path / "c.jpg_large", "PNG")
    red.save(tmp_path / "really a png.jpg", "PNG")
    for name in ("d.png", "d.webp", "d.jpg"):  # EXIF that cannot be read is no reason
        red.save(tmp_path / name, exif=b"Exif\0\0not what EXIF looks like")
    Image.new("RGB", (1, 3000), "red").save(tmp_path / "narrow.png")
    # More than Pillow takes without a warning (89 megapixels, fewer than some telephones make).
    Image.new("L", (1200, 800), 76).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900_000)
    pixels = np.full((30, 40), 1.0, np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(pixels).save(tmp_path / "float.tif")
    Image.fromarray(np.full((30, 40), 65535, np.uint16).astype(">u2")).save(tmp_path / "big.tif")
    (tmp_path / "README").write_text("no picture, and not meant to be one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = data.load_images(tmp_path, 16)
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != "README")
    assert len(loaded) == len(names)
    for name, row in zip(names, loaded):
        want = (255, 255, 255) if name in ("float.tif", "big.tif") else (254, 0, 0)
        want = (76, 76, 76) if name == "large.png" else want
        have = row["image"].getpixel((8, 8))
        assert max(abs(a - b) for a, b in zip(have, want)) <= 3, (name, have)  # JPEG rounds


@pytest.mark.parametrize("kind", ["no metadata", "metadata.jsonl", "metadata.csv"])
def test_ordinary_folders_load_as_imagefolder_loads_them(tmp_path, kind):
    from datasets import load_dataset

    folder = tmp_path / "mine"
    folder.mkdir()
    generator, table = np.random.default_rng(0), []
    for i, name in enumerate(("a.png", "b.jpg", "c.webp", "d.gif", "e.bmp", "f.tif")):
        pixels = generator.integers(0, 255, (20 + i, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
        table.append({"file_name": name, "caption": f"picture, number {i}", "nothing": None})
    table.append({"file_name": "./a.png", "caption": "the first again", "nothing": None})
    if kind.endswith("jsonl"):
        (folder / kind).write_text("\n".join(map(json.dumps, table)), encoding="utf8")
    elif kind.endswith("csv"):
        with (folder / kind).open("w", encoding="utf8", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    theirs = load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache")
    )
    ours = data.load_images(folder, 16)
    assert set(ours.column_names) - {"image"} == set(theirs.column_names) - {"image"}

    def content(rows, cut):  # the orders differ: theirs is the metadata's, ours the files'
        return sorted((row.get("caption", ""), cut(row["image"]).tobytes()) for row in rows)

    assert len(ours) == (6 if kind == "no metadata" else 7)
    assert content(ours, data.to_rgb) == content(theirs, lambda image: data.fit(image, 16))
    if kind != "no metadata":
        assert set(ours["nothing"]) == {None}


def test_phone_pictures_are_named_and_hidden_folders_left_alone(tmp_path):
    for name in ("good.png", ".ipynb_checkpoints/good-checkpoint.png", "__MACOSX/good.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), "red").save(tmp_path / name)
    (tmp_path / "phone.heic").write_bytes(b"not what Pillow reads")
    with pytest.warns(UserWarning, match="left out 1 .*phone.heic"):
        assert len(data.load_images(tmp_path, 16)) == 1


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("metadata.jsonl", b'{"file_name": "a.png", "caption"', "metadata.jsonl is not"),
        ("metadata.csv", b"file_name,caption\na.png,caf\xe9\n", "metadata.csv is not UTF-8"),
        ("metadata.jsonl", b'{"file_name": null}', "row 1: there is no file_name"),
        ("metadata.jsonl", b'{"file_name": "a.png", "image": 1}', "row 1: the name image"),
        (
            "metadata.csv",
            b"file_name,caption\na.png,red, round\n",
            "row 1: more cells than",
        ),
        ("metadata.csv", b"file_name;caption\na.png;red\n", "row 1: there is no file_name"),
        ("metadata.jsonl", b'{"file_name": "../a.png"}', "row 1: .* lies outside"),
        ("metadata.jsonl", b'{"file_name": "/a.png"}', "row 1: .* lies outside"),
        ("metadata.jsonl", b'{"file_name":"a.png","n":1}\n{"file_name":"a.png","n":"x"}', "mixed"),
    ],
)
def test_damaged_metadata_is_named(tmp_path, name, content, message):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.load_images(tmp_path, 16)


@pytest.mark.parametrize("size", [0, -1, 32.0, "32", True])
def test_load_images_wants_a_whole_size(size):
    with pytest.raises(ValueError, match="whole number"):
        data.load_images("photos", size)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.load_images(tmp_path / "nowhere", 16)


def test_pillow_reads_webp_here():
    assert features.check("webp")
