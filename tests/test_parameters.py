"""The web UI's "parameters" text: written, read, in every kind of file, and pictures made again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdlearn import cli, parameters
from sdlearn.generate import generate
from sdlearn.metadata import read_settings, write_picture
from sdlearn.parameters import from_text, to_text

SETTINGS = {
    "prompt": "crying cat, bold style",
    "negative_prompt": "dark",
    "steps": 20,
    "sampler": "dpmpp_2m",
    "guidance": 4.0,
    "seed": 7,
    "size": [64, 48],
    "model": "emoji",
}
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)


def test_the_text_is_the_web_uis():
    assert to_text(SETTINGS).split("\n") == [
        "crying cat, bold style",
        "Negative prompt: dark",
        "Steps: 20, Sampler: DPM++ 2M, CFG scale: 4.0, Seed: 7, Size: 64x48, Model: emoji",
    ]
    assert "Negative" not in to_text({**SETTINGS, "negative_prompt": ""})


def test_what_the_web_ui_wrote_is_read():
    text = """a castle, (sky:1.3),
by the sea
Negative prompt: people,
boats
Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 12, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned, VAE: "a, b: c", Clip skip: 2, Version: v1.10.1"""
    found = from_text(text)
    assert found["prompt"] == "a castle, (sky:1.3),\nby the sea"
    assert found["negative_prompt"] == "people,\nboats"
    assert (found["steps"], found["guidance"], found["seed"]) == (28, 7.0, 12)
    assert found["size"] == [512, 768] and found["sampler"] == "dpmpp_2m_karras"
    assert found["clip_skip"] == 2 and found["VAE"] == "a, b: c"
    assert found["Model hash"] == "6ce0161689" and "Schedule type" not in found


@pytest.mark.parametrize("text", ["just a prompt", "a: b, c: d", "", "Negative prompt: x"])
def test_text_without_settings(text):
    found = from_text(text)
    assert found["prompt"] == ("" if text.startswith("Neg") else text)
    assert set(found) == {"prompt", "negative_prompt"}


@pytest.mark.parametrize(
    "value", ["a, b", "a: b", "two\nlines", 'say "hi", twice', "ünï", 'quote"d', "back\\slash, x"]
)
def test_values_with_separators_come_back(value):
    assert from_text(to_text({**SETTINGS, "model": value}))["model"] == value


@given(LINE, LINE, st.integers(0, 2**63), st.integers(1, 999), LINE.map(str.strip))
def test_round_trip(prompt, negative, seed, steps, model):
    prompt = "a " + prompt.strip()
    settings = {**SETTINGS, "prompt": prompt.strip(), "negative_prompt": negative.strip()}
    settings |= {"seed": seed, "steps": steps, "model": f"m{model}"}
    assert from_text(to_text(settings)) == settings


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_in_files_of_each_kind(suffix, tmp_path):
    settings = {**SETTINGS, "prompt": "crying cat, 中文 é 😀"}
    path = tmp_path / f"picture{suffix}"
    write_picture(Image.new("RGB", (64, 48)), path, settings)
    found = read_settings(path)
    assert {name: found[name] for name in settings} == settings
    with Image.open(path) as picture:
        assert from_text(parameters.read(picture))["prompt"] == settings["prompt"]


def test_comments_of_other_programs(tmp_path):
    text = to_text(SETTINGS)
    for name, comment in {
        "little": b"UNICODE\0" + text.encode("utf-16-le"),
        "ascii": b"ASCII\0\0\0" + text.encode(),
    }.items():
        data = parameters.exif("")
        data.get_ifd(0x8769)[0x9286] = comment
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg", exif=data)
        assert read_settings(tmp_path / f"{name}.jpg")["seed"] == 7
    Image.new("RGB", (8, 8)).save(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="holds no settings"):
        read_settings(tmp_path / "none.jpg")


# --- sdlearn generate --like ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(small_folder):
    return str(small_folder)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_picture_is_made_again(model, tmp_path, suffix):
    options = {"steps": 3, "guidance": 2.5, "seed": 5, "negative_prompt": "blue, dark"}
    options["guidance_rescale"] = 0.5
    first = generate("a hat, red", model, out=tmp_path / "a.png", **options)
    other = generate("a hat, red", model, out=tmp_path / f"b{suffix}", **options)
    again = tmp_path / "again.png"
    assert cli.main(["generate", "--like", str(other), "--out", str(again)]) == 0
    assert (pixels(again) == pixels(first)).all()
    assert cli.main(["generate", "--like", str(other), "--seed", "6", "--out", str(again)]) == 0
    assert (pixels(again) != pixels(first)).any()
    settings = read_settings(again)
    assert (settings["negative_prompt"], settings["guidance_rescale"]) == ("blue, dark", 0.5)


def test_prompts_in_the_web_uis_syntax(model, tmp_path):
    options = ["--model", model, "--seed", "5", "--steps", "3"]
    drawn = {}
    for name, more in {"text": [], "syntax": ["--webui"]}.items():
        out = tmp_path / f"{name}.png"
        assert cli.main(["generate", "(hat:1.9)", *options, *more, "--out", str(out)]) == 0
        drawn[name] = pixels(out)
    assert (drawn["text"] != drawn["syntax"]).any()
    again = tmp_path / "again.png"
    assert cli.main(["generate", "--like", str(tmp_path / "syntax.png"), "--out", str(again)]) == 0
    assert (pixels(again) == drawn["syntax"]).all()
    assert cli.main(["generate", "hat", *options, "--webui", "--out", str(again)]) == 0
    assert (pixels(again) != drawn["syntax"]).any()


def test_what_cannot_be_made_again(model, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert cli.main(["generate", "--like", str(tmp_path / "plain.png")]) == 2
    assert "holds no settings" in capsys.readouterr().err
    write_picture(Image.new("RGB", (8, 8)), tmp_path / "other.png", {**SETTINGS, "model": "v1-5"})
    assert cli.main(["generate", "--like", str(tmp_path / "other.png")]) == 2
    assert "give --model" in capsys.readouterr().err
    assert cli.main(["generate", "--model", model]) == 2
    assert "what shall be drawn" in capsys.readouterr().err
