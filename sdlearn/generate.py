"""`sdlearn generate`: a prompt in, a picture out, with all its settings inside."""

import inspect
import math
import sys
from pathlib import Path

from PIL import Image

from sdlearn.data import data_folder
from sdlearn.metadata import SUFFIXES, read_settings, save_picture, write_picture
from sdlearn.places import CommandError
from sdlearn.samplers import SAMPLERS

EMOJI = "emoji"  # the model that comes with the course
GUIDANCE = 4.0  # with which it draws best; others get the pipeline's own
PATIENCE = 10  # seconds; what takes longer is said before
GAP = 2  # pixels between the pictures of a grid


def generate(prompt=None, model=None, count=None, out=None, like=None, **options):
    """Draw `count` pictures and save them as one file, whose path is returned.

    model: a folder in diffusers' layout, a single file, a Hub id, or "emoji". out: a folder, or the
    picture itself, which is then overwritten; the working folder unless given. like: a picture,
    whose settings are used where none are given. options: image and mask, paths of pictures; webui,
    for prompts in the syntax of `prompt_syntax`; and the other arguments of TextToImage.__call__.
    Raises CommandError, FileNotFoundError.
    """
    given = {"prompt": prompt, "model": model, "count": count, **options}
    given = {name: value for name, value in given.items() if value is not None}
    if like:
        given = {**settings_of(like), **given}
    if "prompt" not in given:
        raise CommandError("what shall be drawn? Give a prompt, or --like a picture")
    prompt, model, count = given.pop("prompt"), given.pop("model", EMOJI), given.pop("count", 1)
    webui = bool(given.pop("webui", False))
    out = Path(out or ".")
    if out.suffix and not out.is_dir() and out.suffix.lower() not in SUFFIXES:
        raise CommandError(
            f"--out {out}: a folder or {', '.join(SUFFIXES)}, because its settings go in too"
        )
    if given.get("sampler", "dpmpp_2m") not in SAMPLERS:
        raise CommandError(f"--sampler is one of {', '.join(SAMPLERS)}, not {given['sampler']!r}")
    files = {name: given.pop(name) for name in ("image", "mask") if name in given}
    if model == EMOJI:
        given = {"guidance": GUIDANCE, **given}
    read_in = {name: read(path) for name, path in files.items()}
    pictures, used = draw(prompt, model, count, {**given, **read_in}, webui)
    settings = {"prompt": prompt, "negative_prompt": "", **used, "model": str(model)}
    settings |= {"seed": pictures[0].info["seed"], "size": list(pictures[0].size)}
    settings |= {name: str(path) for name, path in files.items()}
    if webui:
        settings["webui"] = True
    if count > 1:
        settings["count"] = count  # the next pictures' seeds are the next numbers
    if "image" not in files:
        del settings["strength"]
    picture = grid(pictures)
    try:
        if not out.suffix or out.is_dir():
            return save_picture(picture, out, settings)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_picture(picture, out, settings)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error}") from error
    return out


def settings_of(path):
    """What a picture says of how it was made, of that what `generate` can be told."""
    try:
        found = read_settings(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"--like {path}: {error}") from error
    model = found.get("model")
    if model and model != EMOJI and not Path(model).exists() and "/" not in model:
        raise CommandError(
            f"{path} was drawn with {model!r}, which is not here by that name: give --model"
        )
    names = ("negative_prompt", "steps", "guidance", "seed", "size", "sampler", "strength")
    names += ("prompt", "model", "count", "image", "mask", "webui", "guidance_rescale")
    return {name: found[name] for name in names if found.get(name) not in (None, "")}


def draw(prompt, model, count, options, webui=False):
    """The pictures, and all settings they were drawn with."""
    from sdlearn.pipeline import TextToImage
    from sdlearn.runtime import device
    from sdlearn.webui import WebUI

    known = inspect.signature(TextToImage.__call__).parameters
    names = ("steps", "guidance", "sampler", "strength")
    used = {name: options.get(name, known[name].default) for name in names}
    more = ("negative_prompt", "guidance_rescale")
    used |= {name: options[name] for name in more if name in options}
    try:
        where = device()
        pipeline = (WebUI if webui else TextToImage).load(
            data_folder("checkpoints") / EMOJI if model == EMOJI else model
        )
        pipeline = pipeline.to(where)
        if model != EMOJI:
            asked = {name: used[name] for name in ("steps", "guidance", "sampler")}
            cost = pipeline.estimate(options.get("size"), count, **asked)
            if cost.seconds > PATIENCE:
                print(f"this takes {cost}", file=sys.stderr)
        return pipeline(count * [prompt], **options), used
    except (ValueError, RuntimeError, MemoryError) as error:
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
