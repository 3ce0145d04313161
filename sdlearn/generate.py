"""`sdlearn generate`: a prompt in, a PNG out, with all its settings inside."""

import inspect
import math
from pathlib import Path

from PIL import Image

from sdlearn.data import data_folder
from sdlearn.metadata import picture_metadata, save_picture
from sdlearn.places import CommandError
from sdlearn.samplers import SAMPLERS

EMOJI = "emoji"  # the model that comes with the course
GUIDANCE = 4.0  # with which it draws best; others get the pipeline's own
GAP = 2  # pixels between the pictures of a grid


def generate(prompt, model=EMOJI, count=1, out=None, image=None, mask=None, **options):
    """Draw `count` pictures and save them as one PNG, whose path is returned.

    model: a folder in diffusers' layout, a Hub id, or "emoji". out: a folder, or the PNG itself,
    which is then overwritten; the working folder unless given. image, mask: paths of pictures.
    options: the other arguments of TextToImage.__call__. Raises CommandError, FileNotFoundError.
    """
    out = Path(out or ".")
    if out.suffix and not out.is_dir() and out.suffix.lower() != ".png":
        raise CommandError(f"--out {out}: a .png, because its settings go in too, or a folder")
    options = {name: value for name, value in options.items() if value is not None}
    if options.get("sampler", "dpmpp_2m") not in SAMPLERS:
        raise CommandError(f"--sampler is one of {', '.join(SAMPLERS)}, not {options['sampler']!r}")
    given = {"image": image and read(image), "mask": mask and read(mask)}
    if model == EMOJI:
        options = {"guidance": GUIDANCE, **options}
    pictures, options = draw(prompt, model, count, {**options, **given})
    settings = {"prompt": prompt, "negative_prompt": "", **options, "model": model}
    settings |= {"seed": pictures[0].info["seed"], "size": list(pictures[0].size)}
    settings |= {name: str(path) for name, path in (("image", image), ("mask", mask)) if path}
    if count > 1:
        settings["count"] = count  # the next pictures' seeds are the next numbers
    if not image:
        del settings["strength"]
    picture = grid(pictures)
    try:
        if not out.suffix or out.is_dir():
            return save_picture(picture, out, settings)
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out, pnginfo=picture_metadata(settings))
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error}") from error
    return out


def draw(prompt, model, count, options):
    """The pictures, and all settings they were drawn with."""
    from sdlearn.pipeline import TextToImage
    from sdlearn.runtime import device

    known = inspect.signature(TextToImage.__call__).parameters
    names = ("steps", "guidance", "sampler", "strength")
    used = {name: options.get(name, known[name].default) for name in names}
    if "negative_prompt" in options:
        used["negative_prompt"] = options["negative_prompt"]
    try:
        where = device()
        pipeline = TextToImage.load(data_folder("checkpoints") / EMOJI if model == EMOJI else model)
        return pipeline.to(where)(count * [prompt], **options), used
    except (ValueError, RuntimeError) as error:
        raise CommandError(error) from error


def read(path):
    """A picture from a file. Raises CommandError that names it."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except OSError as error:
        raise CommandError(f"{path} is no picture that can be read: {error}") from error


def grid(pictures):
    """One picture of them all, white between, about as wide as high; a single one as it is."""
    if len(pictures) == 1:
        return pictures[0]
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width, height = (side + GAP for side in pictures[0].size)
    sheet = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet
