"""The settings of a drawn picture, written into its PNG and read back: nothing drawn gets lost."""

import json
import re
from itertools import count
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdlearn import __version__

CHUNK = "sdlearn"  # the name of the text chunk
KEYS = ("prompt", "negative_prompt", "seed", "steps", "guidance", "sampler", "size", "model")


def picture_metadata(settings):
    """The settings as a PngInfo: picture.save(path, pnginfo=picture_metadata(settings)).

    settings: a dict of what JSON can hold, with all of KEYS (size: width and height; model: its
    name, or None). What else mattered belongs there too: image, mask and strength, for example.
    They become one text chunk "sdlearn" with the course's version: JSON in UTF-8.
    Raises ValueError that names the settings that are missing.
    """
    missing = [key for key in KEYS if key not in settings]
    if missing:
        raise ValueError(f"settings of a picture without {', '.join(missing)}: nobody could repeat")
    info = PngInfo()
    text = json.dumps({**settings, "sdlearn": __version__}, ensure_ascii=False)
    info.add_itxt(CHUNK, text)  # not add_text, which is for Latin letters only
    return info


def read_settings(path):
    """The settings that `picture_metadata` wrote, as a dict, with the version as "sdlearn".

    path: of a PNG, or a file open for reading. Raises FileNotFoundError, and ValueError where
    there are no settings.
    """
    with Image.open(path) as picture:
        picture.load()  # other programs move the text behind the pixels
        text = picture.info.get(CHUNK)
    try:
        settings = json.loads(text)
        if isinstance(settings, dict):
            return settings
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"{path} holds no settings of sdlearn: give a PNG as it was saved, not one that was edited "
        "or sent through a messenger"
    )


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
    picture.save(path, pnginfo=picture_metadata(settings))
    return path
