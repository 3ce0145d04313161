"""The panel's part for a picture to begin with and its mask: uploads, or a rectangle."""

import io
from functools import partial

import ipywidgets as w
from PIL import Image, ImageOps

from sdlearn.data import to_rgb
from sdlearn.show import _bytes, _img

NOISE, PICTURE = "noise", "the picture"
RECTANGLE, MASK = "the picture, a rectangle anew", "the picture, the mask's white anew"
WIDE = {"style": {"description_width": "110px"}, "layout": {"width": "400px"}}


class GivenBox(w.VBox):
    """Fields, uploads and a picture of what is drawn anew.

    pixels: a function that returns width and height of what is drawn. say: called with a sentence
    for the reader. given: the picture and the mask, each as (name, PIL picture) or None.
    """

    def __init__(self, pixels, say):
        super().__init__()
        self.pixels, self.say = pixels, say
        self.given = {"image": None, "mask": None}
        begin = w.Dropdown(
            options=[NOISE, PICTURE, RECTANGLE, MASK], description="begin with", **WIDE
        )
        strength = w.FloatSlider(0.8, min=0.05, max=1, step=0.05, description="strength", **WIDE)
        self.fields = {
            "begin": begin,
            "strength": strength,
            "across": w.IntRangeSlider(value=(0, 100), description="across, %", **WIDE),
            "down": w.IntRangeSlider(value=(50, 100), description="down, %", **WIDE),
        }
        self.uploads = {
            name: w.FileUpload(accept="image/*", description=text)
            for name, text in (("image", "picture …"), ("mask", "mask …"))
        }
        for name, upload in self.uploads.items():
            upload.observe(partial(self.take, name), "value")
        for name in ("begin", "across", "down"):
            self.fields[name].observe(self.look, "value")
        self.outline = w.HTML()
        uploads = w.HBox(list(self.uploads.values()))
        self.children = [begin, uploads, *list(self.fields.values())[1:], self.outline]
        self.look()

    def take(self, what, change):
        """An upload: ipywidgets 7 has a dict of files by name, 8 a tuple of files."""
        if not change["new"]:
            return
        files = change["new"].items() if isinstance(change["new"], dict) else None
        name, file = list(files or ((file["name"], file) for file in change["new"]))[-1]
        try:
            picture = Image.open(io.BytesIO(file["content"]))
            picture = to_rgb(picture) if what == "image" else picture.convert("L")
            self.give(what, name, picture)
        except Exception as error:  # whatever a damaged file makes Pillow raise
            self.say(f"{name} cannot be used, PNG, JPEG or WebP is best: {error}", bad=True)

    def give(self, what, name, picture):
        """Begin with this picture, or use this mask."""
        self.given[what] = name, ImageOps.fit(picture, self.pixels())
        if what == "mask":
            self.fields["begin"].value = MASK
        elif self.fields["begin"].value == NOISE:
            self.fields["begin"].value = PICTURE
        self.look()

    def begin(self):
        """What the pipeline gets as image and mask, each as (name, picture) or None."""
        begin = self.fields["begin"].value
        image, mask = self.given["image"], self.given["mask"]
        if begin == NOISE:
            return None, None
        if image is None:
            raise ValueError("there is no picture to begin with: upload one, or begin with noise")
        if begin == PICTURE:
            return image, None
        if begin == RECTANGLE:
            (x0, x1), (y0, y1) = (self.fields[name].value for name in ("across", "down"))
            width, height = image[1].size
            mask = Image.new("L", image[1].size, 0)
            box = x0 * width // 100, y0 * height // 100, x1 * width // 100, y1 * height // 100
            mask.paste(255, box)
            return image, (f"rectangle {x0}-{x1} % across, {y0}-{y1} % down", mask)
        if mask is None:
            raise ValueError("there is no mask: upload a picture, white where to draw anew")
        return image, mask

    def look(self, _=None):
        """Show the picture to begin with, what is drawn anew in orange, and the fields for it."""
        begin = self.fields["begin"].value
        for name in ("strength", "across", "down"):
            shown = begin != NOISE if name == "strength" else begin == RECTANGLE
            self.fields[name].layout.display = "" if shown else "none"
        self.outline.value = ""
        try:
            image, mask = self.begin()
        except ValueError:
            return  # said when Draw is pressed
        if image:
            name, picture = image
            if mask:
                tinted = Image.blend(picture, Image.new("RGB", picture.size, "#E69F00"), 0.6)
                picture = Image.composite(tinted, picture, mask[1].point(lambda v: 255 * (v > 127)))
            alt = f"The picture to begin with, {name}; what is drawn anew is orange"
            self.outline.value = _img(_bytes(picture), alt, width=128)
