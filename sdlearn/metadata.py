"""The settings of a drawn picture, written into its file and read back: nothing drawn gets lost."""

import json
import re
from itertools import count
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdlearn import __version__, parameters

CHUNK = "sdlearn"  # the name of the text chunk
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # of pictures that can hold settings
KEYS = ("prompt", "negative_prompt", "seed", "steps", "guidance", "sampler", "size", "model")


def picture_metadata(settings):
    """The settings as a PngInfo: picture.save(path, pnginfo=picture_metadata(settings)).

    settings: a dict of what JSON can hold, with all of KEYS (size: width and height; model: its
    name, or None). What else mattered belongs there too: image, mask and strength, for example.
    They become two text chunks: "sdlearn", JSON in UTF-8 with the course's version, and
    "parameters", as other programs write it. Raises ValueError that names missing settings.
    """
    missing = [key for key in KEYS if key not in settings]
    if missing:
        raise ValueError(f"settings of a picture without {', '.join(missing)}: nobody could repeat")
    info = PngInfo()
    text = json.dumps({**settings, "sdlearn": __version__}, ensure_ascii=False)
    info.add_itxt(CHUNK, text)  # not add_text, which is for Latin letters only
    info.add_itxt(parameters.CHUNK, parameters.to_text(settings))
    return info


def read_settings(path):
    """The settings in a picture, as a dict: those of the course, or else the web UI's "parameters".

    path: of a PNG, JPEG or WebP, or a file open for reading. Raises FileNotFoundError, and
    ValueError where there are no settings.
    """
    with Image.open(path) as picture:
        picture.load()  # other programs move the text behind the pixels
        text, other = picture.info.get(CHUNK), parameters.read(picture)
    try:
        settings = json.loads(text)
        if isinstance(settings, dict):
            return settings
    except (TypeError, ValueError):
        pass
    if other:
        return parameters.from_text(other)
    raise ValueError(
        f"{path} holds no settings: give a picture as it was saved, not one that was edited or "
        "sent through a messenger"
    )


def write_picture(picture, path, settings):
    """Save a picture with its settings, as PNG, JPEG or WebP. Raises OSError, ValueError."""
    if path.suffix.lower() == ".png":
        picture.save(path, pnginfo=picture_metadata(settings))
    elif path.suffix.lower() in SUFFIXES:
        text = parameters.to_text({**settings, "Version": f"sdlearn {__version__}"})
        picture.save(path, exif=parameters.exif(text), quality=95)
    else:
        raise ValueError(f"{path}: one of {', '.join(SUFFIXES)} is expected")


def save_picture(picture, folder, settings):
    """Write PROMPT-SEED.png, settings inside, into the folder; returns its path.

    No file is ever overwritten: the next one of that name gets a number. Raises OSError.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", settings["prompt"].lower())[:40].strip("-") or "picture"
    name = f"{name}-{settings['seed']}"
    paths = (folder / f"{name}{f'-{n}' if n > 1 else ''}.png" for n in count(1))
    path = next(path for path in paths if not path.exists())
    write_picture(picture, path, settings)
    return path
