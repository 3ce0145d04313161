"""`sdlearn generate`: the picture, its file, what the file knows, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sdlearn import cli
from sdlearn.generate import GAP, generate, grid
from sdlearn.metadata import read_settings
from sdlearn.pipeline import TextToImage

PROMPT = "a green heart, 3d style"


@pytest.fixture(scope="module")
def model(small_folder):
    return str(small_folder)


def command(*arguments):
    return cli.main(["generate", *map(str, arguments)])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_file_is_the_pipelines_picture_and_knows_how_it_was_made(model, tmp_path, capsys):
    out = tmp_path / "sub" / "heart.png"
    options = ["--steps", 4, "--guidance", 3, "--seed", 5, "--sampler", "euler", "--negative", "no"]
    assert command(PROMPT, "--model", model, "--size", "64x32", "--out", out, *options) == 0
    assert capsys.readouterr().out.strip() == str(out)
    settings = read_settings(out)
    expected = {"prompt": PROMPT, "negative_prompt": "no", "steps": 4, "guidance": 3.0, "seed": 5}
    expected |= {"sampler": "euler", "size": [64, 32], "model": model}
    assert {name: settings[name] for name in expected} == expected
    names = ("prompt", "negative_prompt", "steps", "guidance", "seed", "sampler", "size")
    [again] = TextToImage.load(settings["model"])(**{name: settings[name] for name in names})
    assert (pixels(out) == np.asarray(again)).all() and pixels(out).shape == (32, 64, 3)


def test_defaults_are_the_pipelines_own_and_a_new_seed_each_time(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert command(PROMPT, "--model", model, "--steps", 1) == 0
    found = [read_settings(path) for path in sorted(tmp_path.glob("a-green-heart-3d-style-*.png"))]
    assert len({settings["seed"] for settings in found}) == 2
    assert {settings["guidance"] for settings in found} == {7.5}
    assert {settings["sampler"] for settings in found} == {"dpmpp_2m"}
    assert all("strength" not in settings and "count" not in settings for settings in found)


def test_a_grid_holds_the_pictures_of_its_seeds(model, tmp_path):
    sheet = generate(PROMPT, model, count=3, out=tmp_path / "sheet.png", steps=2, seed=8)
    assert read_settings(sheet)["seed"] == 8 and read_settings(sheet)["count"] == 3
    last = generate(PROMPT, model, out=tmp_path, steps=2, seed=10)
    assert last.name == "a-green-heart-3d-style-10.png"
    whole, size = pixels(sheet), 32 + GAP
    assert whole.shape == (2 * size - GAP, 2 * size - GAP, 3)
    assert abs(whole[size:, :32].astype(int) - pixels(last)).max() <= 1
    assert (whole[size:, size:] == 255).all() and (whole[32:size] == 255).all()


def test_grids_are_about_square():
    sizes = {n: grid(n * [Image.new("RGB", (10, 10))]).size for n in (1, 2, 5, 12)}
    assert sizes == {1: (10, 10), 2: (22, 10), 5: (34, 22), 12: (46, 34)}


def test_from_a_picture_and_a_mask(model, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    mask.save(tmp_path / "mask.png")
    given = "--image", tmp_path / "red.png", "--mask", tmp_path / "mask.png", "--strength", 0.5
    out = tmp_path / "new.png"
    assert command(PROMPT, "--model", model, "--steps", 4, "--out", out, *given) == 0
    assert (pixels(out)[:, 16:] == [255, 0, 0]).all() and (pixels(out)[:, :16] != [255, 0, 0]).any()
    settings = read_settings(out)
    assert settings["strength"] == 0.5 and settings["image"].endswith("red.png")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--sampler", "magic"], "--sampler is one of ddpm, "),
        (["--size", "50"], "try 48 or 52"),
        (["--out", "picture.gif"], ".png, .jpg"),
        (["--image", "nowhere.png"], "nowhere.png"),
        (["--mask", __file__], "no picture that can be read"),
        (["--seed", "-1"], "seed -1"),
        (["--steps", "2000"], "2000"),
        (["--guidance-rescale", "1.5"], "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    model, arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert command(PROMPT, "--model", model, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_what_takes_long_is_said_before(model, tmp_path, monkeypatch, capsys):
    drawing = (PROMPT, "--model", model, "--steps", "1", "--out", tmp_path / "a.png")
    assert command(*drawing) == 0 and "this takes" not in capsys.readouterr().err
    monkeypatch.setattr("sdlearn.generate.PATIENCE", 0)
    assert command(*drawing) == 0
    assert "MB of weights" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_one_sentence(capsys):
    assert command(PROMPT, "--model", "no/where/at/all") == 2
    assert "there is no folder 'no/where/at/all'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--steps", "x"], ["--size", "64x"]])
def test_wrong_arguments_are_told_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command(*([PROMPT, *arguments] if arguments else []))
    assert ended.value.code == 2 and "usage: sdlearn generate" in capsys.readouterr().err


def test_start_up_imports_only_what_drawing_needs(model, tmp_path):
    """Each of these takes a second or more, and the first picture has to be there in ten."""
    code = (
        "import sys; from sdlearn.generate import generate\n"
        f"generate('x', {model!r}, out={str(tmp_path)!r}, steps=1)\n"
        "slow = {'diffusers', 'transformers', 'matplotlib', 'IPython', 'datasets', 'pandas'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"
