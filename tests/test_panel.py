"""The notebook panel and the settings in saved pictures, headless, on a tiny random pipeline."""

import io
import re
import threading
import time

import ipywidgets
import numpy as np
import pytest
from PIL import Image
from test_pipeline import make

from sdlearn.metadata import picture_metadata, read_settings, save_picture
from sdlearn.panel import panel
from sdlearn.panel_given import MASK, NOISE, PICTURE, RECTANGLE

ABOUT = {
    "prompt": "一只猫, a “cat”",
    "negative_prompt": "",
    "seed": 2**32,
    "steps": 7,
    "guidance": 2.5,
    "sampler": "ddim",
    "size": [32, 32],
    "model": None,
}


@pytest.fixture(scope="module")
def pipeline():
    return make()


@pytest.fixture
def drawer(pipeline, tmp_path):
    return panel(pipeline, "tiny", tmp_path, prompt="a green heart", steps=3, seed=5)


def draw(drawer):
    drawer.buttons["draw"].click()
    if drawer.thread:
        drawer.thread.join(60)
        assert not drawer.thread.is_alive()
    return drawer.status.value


def upload(drawer, what, data, name="file.png"):
    """What the browser's part sends, in the form of the installed ipywidgets."""
    widget = drawer.start.uploads[what]
    if ipywidgets.__version__ < "8":
        widget.set_state({"metadata": [{"name": name}], "data": [data], "_counter": 1})
    else:
        file = {"name": name, "type": "", "size": len(data), "last_modified": 0}
        widget.set_state({"value": [{**file, "content": memoryview(data)}]})


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def photo(mode="RGB"):
    ramp = np.linspace(0, 255, 40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
    return Image.fromarray(ramp).convert(mode)


def test_nothing_is_drawn_until_asked(drawer):
    assert drawer.thread is None and drawer.view.value == "" and not drawer.history.drawn
    disabled = {name: button.disabled for name, button in drawer.buttons.items()}
    assert disabled == {"draw": False, "stop": True, "save": True, "use": True}


def test_draw_is_the_pipeline(drawer, pipeline):
    assert "drawn in" in draw(drawer)
    (entry,) = drawer.history.drawn
    (wanted,) = pipeline("a green heart", steps=3, seed=5)
    assert np.array_equal(entry[0], wanted)
    assert 'width="256"' in drawer.view.value and "pixelated" in drawer.view.value
    assert not drawer.buttons["save"].disabled and drawer.buttons["stop"].disabled


def test_seed_is_new_each_time_unless_kept(drawer):
    draw(drawer)
    draw(drawer)
    drawer.keep.value = False
    draw(drawer)
    draw(drawer)
    seeds = [entry[1]["seed"] for entry in drawer.history.drawn]
    assert seeds[2:] == [5, 5] and len({5, *seeds[:2]}) == 3
    drawer.fields["seed"].value = 77  # who types a seed means it
    draw(drawer)
    assert drawer.history.drawn[0][1]["seed"] == 77


def test_stop_is_heard_while_drawing(drawer, pipeline, monkeypatch):
    seen, stopped = [], threading.Event()

    def decode(latents):
        seen.append(len(seen))
        drawer.buttons["stop"].click()  # from the thread itself: no race with the drawing
        stopped.set()
        return [photo()]

    drawer.fields["steps"].value = 900
    monkeypatch.setattr(pipeline, "decode", decode)
    drawer.buttons["draw"].click()
    assert stopped.wait(60)
    drawer.thread.join(60)
    assert seen == [0] and "stopped after" in drawer.status.value
    assert not drawer.history.drawn and not drawer.buttons["draw"].disabled
    assert drawer.buttons["save"].disabled  # what is shown is unfinished


def test_click_returns_at_once_and_a_second_one_is_ignored(drawer, pipeline, monkeypatch):
    go, calls = threading.Event(), []

    def decode(latents):
        calls.append(1)
        assert go.wait(60)
        return [photo()]

    monkeypatch.setattr(pipeline, "decode", decode)
    drawer.buttons["draw"].click()
    thread = drawer.thread
    drawer.draw()
    assert drawer.thread is thread and drawer.buttons["draw"].disabled
    go.set()
    thread.join(60)
    assert len(drawer.history.drawn) == 1


def test_previews_cost_a_fifth_of_the_time(drawer, pipeline, monkeypatch):
    real, times = pipeline.decode, []

    def decode(latents):
        times.append(time.monotonic())
        time.sleep(0.2)
        return real(latents)

    monkeypatch.setattr(pipeline, "decode", decode)
    drawer.fields["steps"].value = 40
    draw(drawer)
    # All but the last, which is the finished picture; 0.2 s of decoding and four times that.
    gaps = np.diff(times[:-1])
    assert times and all(gap >= 1.0 for gap in gaps)


def test_an_error_is_one_sentence_and_nothing_is_lost(drawer, pipeline, monkeypatch):
    draw(drawer)
    view = drawer.view.value
    monkeypatch.setattr(pipeline, "guided", lambda *_: 1 / 0)
    said = draw(drawer)
    assert "ZeroDivisionError: division by zero" in said and "#b00020" in said
    assert isinstance(drawer.error, ZeroDivisionError)
    assert drawer.view.value == view and len(drawer.history.drawn) == 1
    monkeypatch.undo()
    drawer.start.fields["begin"].value = PICTURE
    assert "there is no picture to begin with" in draw(drawer)
    drawer.start.fields["begin"].value = NOISE
    assert "drawn in" in draw(drawer)


def test_history_brings_back_picture_and_settings(drawer):
    draw(drawer)
    upload(drawer, "image", png(photo()))
    drawer.put({"prompt": "<b>heart</b>", "guidance": 1.0, "sampler": "euler", "strength": 0.5})
    draw(drawer)
    second = drawer.view.value
    assert "<b>" not in second  # the prompt is escaped where it becomes HTML
    drawer.history.thumbs[1].click()
    now = {name: drawer.fields[name].value for name in ("prompt", "guidance", "sampler", "begin")}
    assert now == {
        "prompt": "a green heart",
        "guidance": 7.5,
        "sampler": "dpmpp_2m",
        "begin": NOISE,
    }
    assert drawer.start.given["image"] is None and drawer.view.value != second
    drawer.history.thumbs[0].click()
    assert drawer.view.value == second and drawer.start.given["image"][0] == "file.png"
    draw(drawer)
    assert np.array_equal(drawer.history.drawn[0][0], drawer.history.drawn[1][0])


def test_history_keeps_twelve(drawer):
    drawer.fields["steps"].value = 1
    for seed in range(13):
        drawer.fields["seed"].value = seed
        draw(drawer)
    assert [entry[1]["seed"] for entry in drawer.history.drawn] == list(range(12, 0, -1))
    assert drawer.history.css.value.count("url(data:image/png;base64,") == 12


@pytest.mark.parametrize("begin", [PICTURE, RECTANGLE, MASK])
def test_picture_and_mask_reach_the_pipeline(begin, drawer, pipeline, tmp_path):
    image, white = photo(), Image.new("L", (50, 40), 0)
    white.paste(255, (0, 0, 25, 40))
    upload(drawer, "image", png(image), "ramp.png")
    mask = None
    if begin == RECTANGLE:
        mask = Image.new("L", (32, 32), 0)
        mask.paste(255, (0, 16, 32, 32))
    if begin == MASK:
        upload(drawer, "mask", png(white), "left.png")
        mask = white
    drawer.fields["begin"].value = begin
    assert "<img alt" in drawer.start.outline.value
    assert "drawn in" in draw(drawer)
    (wanted,) = pipeline("a green heart", steps=3, seed=5, image=image, mask=mask)
    assert np.array_equal(drawer.history.drawn[0][0], wanted)
    drawer.buttons["save"].click()
    saved = read_settings(tmp_path / "a-green-heart-5.png")
    assert saved["image"] == "ramp.png" and saved["strength"] == 0.8
    assert saved.get("mask") == {
        PICTURE: None,
        RECTANGLE: "rectangle 0-100 % across, 50-100 % down",
        MASK: "left.png",
    }.get(begin)


def test_a_file_that_is_no_picture_is_named(drawer):
    upload(drawer, "image", b"no picture", "notes.txt")
    assert "notes.txt cannot be used" in drawer.status.value
    assert drawer.start.given["image"] is None and drawer.fields["begin"].value == NOISE


def test_use_begins_with_what_was_drawn(drawer):
    draw(drawer)
    drawer.buttons["use"].click()
    name, picture = drawer.start.given["image"]
    assert "seed 5" in name and np.array_equal(picture, drawer.history.drawn[0][0])
    assert drawer.fields["begin"].value == PICTURE
    assert "drawn in" in draw(drawer)


def test_save_writes_the_settings_and_overwrites_nothing(drawer, tmp_path):
    draw(drawer)
    for _ in range(2):
        drawer.buttons["save"].click()
    one, two = sorted(tmp_path.glob("*.png"))
    saved = read_settings(one)
    assert saved == read_settings(two)
    assert saved.pop("sdlearn")
    assert saved == {
        **dict(prompt="a green heart", negative_prompt="", seed=5, steps=3, guidance=7.5),
        **dict(sampler="dpmpp_2m", size=[32, 32], model="tiny"),
    }
    with Image.open(one) as picture:
        assert np.array_equal(picture, drawer.history.drawn[0][0])


def test_what_a_saved_notebook_shows(drawer, monkeypatch):
    shown = []
    monkeypatch.setattr("sdlearn.panel.display", lambda bundle, raw: shown.append(bundle))
    drawer._ipython_display_()
    (bundle,) = shown
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == drawer.model_id
    for kind in ("text/html", "text/plain"):
        assert "needs a running kernel" in bundle[kind]
    assert "<" not in bundle["text/plain"]


@pytest.mark.parametrize("wrong", [{"step": 3}, {"steps": 5000}, {"sampler": "plms"}, {"seed": -1}])
def test_settings_that_do_not_fit_are_refused(wrong, pipeline):
    with pytest.raises(ValueError, match=re.escape(next(iter(wrong)))):
        panel(pipeline, **wrong)


def test_metadata_come_back_as_they_went(tmp_path):
    photo().save(tmp_path / "a.png", pnginfo=picture_metadata(ABOUT))
    settings = read_settings(tmp_path / "a.png")
    assert settings.pop("sdlearn")
    assert settings == ABOUT
    assert "一只猫".encode() in (tmp_path / "a.png").read_bytes()  # for other programs to read


def test_metadata_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="without seed"):
        picture_metadata({k: v for k, v in ABOUT.items() if k != "seed"})
    for name in ("plain.png", "plain.jpg"):
        photo().save(tmp_path / name)
        with pytest.raises(ValueError, match="holds no settings"):
            read_settings(tmp_path / name)


def test_a_prompt_makes_a_file_name(tmp_path):
    for prompt in ("../../etc/passwd", "", "💥", "x" * 500):
        path = save_picture(photo(), tmp_path / "new", {**ABOUT, "prompt": prompt})
        assert path.parent == tmp_path / "new" and path.is_file()
        assert read_settings(path)["prompt"] == prompt
