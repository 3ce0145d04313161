"""Pictures: alt text with every one, honest pixels, a strip where there is no slider."""

import base64
import io
import re

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from sdlearn import show

ALT = "a picture made for this test, of no beauty"


@pytest.fixture
def shown(monkeypatch):
    """What `display` was given: a list of bundles."""
    bundles = []
    monkeypatch.setattr(show, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def decoded(bundle, mime="image/png"):
    return Image.open(io.BytesIO(base64.b64decode(bundle[mime])))


def html_picture(bundle):
    data = re.search(r'base64,([^"]+)"', bundle["text/html"]).group(1)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_minus_one_is_black_and_one_is_white():
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 5)
    assert show.to_uint8(x)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"\[2, 8, 8\]"):
        show.to_uint8(torch.zeros(2, 8, 8))


@pytest.mark.parametrize("alt", ["", "short", None])
def test_no_picture_without_alt_text(shown, alt):
    with pytest.raises(ValueError, match="alt text"):
        show.images(torch.zeros(1, 3, 4, 4), alt=alt)
    plt.close("all")


def test_every_kind_of_picture_carries_its_alt_text(shown):
    show.images(torch.zeros(3, 3, 4, 4), ALT, titles=["a", "b", "c"], rows=["r"], title="t")
    show.curves({"a": [1.0, 2.0], "b": torch.tensor([2.0, 1.0])}, ALT, log=True)
    show.gif([torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)], ALT)
    assert len(shown) == 3
    for bundle in shown:
        assert f'alt="{ALT}"' in bundle["text/html"]
        assert decoded(bundle).size[0] > 4  # beside it, for those who show no HTML
    assert not plt.get_fignums()  # figures do not pile up


def test_quotes_in_alt_text_do_not_break_the_page(shown):
    show.curves({"a": [1, 2]}, 'a curve called "a", which is < b & rises')
    assert "&quot;a&quot;" in shown[0]["text/html"] and "&lt; b &amp;" in shown[0]["text/html"]


def test_animation_has_all_frames_and_their_pixels(shown):
    levels = [-1.0, 0.0, 1.0]
    show.gif([torch.full((3, 5, 7), level) for level in levels], ALT, scale=3)
    animation = html_picture(shown[0])
    assert animation.n_frames == 3 and animation.size == (7, 5)
    for frame, level in enumerate((0, 128, 255)):
        animation.seek(frame)
        assert animation.convert("RGB").getpixel((3, 2)) == (level,) * 3
    assert decoded(shown[0]).size == (21, 15)  # the still that stands in for it: the last frame
    assert decoded(shown[0]).convert("RGB").getpixel((10, 10)) == (255,) * 3


def test_tile_puts_pictures_side_by_side():
    arrays = show._as_arrays(torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2))
    sheet = show.tile(arrays, cols=2)
    assert sheet.shape == (5, 5, 3)
    assert sheet[0, 0, 0] == 0 and sheet[0, 3, 0] == 128 and sheet[3, 0, 0] == 255


def test_slider_moves_its_picture_and_leaves_a_strip(shown, monkeypatch):
    import ipywidgets

    boxes = []
    real = ipywidgets.VBox
    monkeypatch.setattr(
        ipywidgets, "VBox", lambda children: boxes.append(real(children)) or boxes[-1]
    )
    show.slider(lambda v: torch.full((3, 8, 8), v / 10), range(0, 11, 5), ALT)
    (bundle,) = shown
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == boxes[0].model_id
    assert "Strip of pictures, t = [0, 5, 10]" in bundle["text/html"]
    (row, page) = boxes[0].children
    handle, number = row.children
    before = page.value
    handle.value = 2
    assert number.value == "10" and page.value != before
    assert f'alt="t = 10: {ALT}"' in page.value


def test_one_look_for_all_figures():
    assert plt.rcParams["axes.grid"] and plt.rcParams["figure.facecolor"] == "white"
