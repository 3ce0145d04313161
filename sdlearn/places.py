"""Where the course lies on this machine: its folder and its chapters (needs nothing but Python)."""

import re
import sys
from pathlib import Path

_CHAPTER = re.compile(r"(\d\d)_\w+\.ipynb")


class CommandError(ValueError):
    """A wish that cannot be met as it stands; the message says why, and what can."""


def in_colab():
    """True inside a Google Colab notebook."""
    return "google.colab" in sys.modules


def course_root():
    """The folder of the clone: the one that holds `sdlearn/` and `notebooks/`.

    An installed copy without notebooks beside it looks for the clone in the working folder
    and its parents. Raises FileNotFoundError when there is none.
    """
    beside = Path(__file__).resolve().parents[1]
    here = Path.cwd()
    for folder in (beside, here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "sdlearn" / "__init__.py").is_file():
            return folder
    raise FileNotFoundError(
        f"the course's folder (with sdlearn/ and notebooks/) is neither {beside} nor {here} "
        "nor above it: change into the clone and try again"
    )


def chapters(folder=None):
    """The chapters as a dict from number to path, in order: {"00": .../00_start_here.ipynb, ...}.

    folder: where to look; the clone's `notebooks` unless given.
    """
    folder = Path(folder) if folder else course_root() / "notebooks"
    found = sorted(path for path in folder.glob("*.ipynb") if _CHAPTER.fullmatch(path.name))
    return {path.name[:2]: path for path in found}


def select(names, folder=None):
    """Turn chapter numbers, names or paths into paths; no names at all means every chapter.

    "3", "03", "03_unet", "03_unet.ipynb" and a path of any notebook are understood.
    Raises CommandError naming what there is.
    """
    known = chapters(folder)
    if not names:
        if not known:
            raise CommandError(f"no chapters in {folder or course_root() / 'notebooks'}")
        return list(known.values())
    return [_one(str(name), known) for name in names]


def _one(name, known):
    """The path that `name` means among the `known` chapters."""
    if name.isdecimal() and f"{int(name):02}" in known:
        return known[f"{int(name):02}"]
    for path in known.values():
        if name in (path.name, path.stem):
            return path
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    there = ", ".join(path.stem for path in known.values()) or "none yet"
    raise CommandError(
        f"no chapter and no notebook {name!r}. The chapters are: {there}. "
        'Give a number ("2"), a name or the path of an .ipynb file'
    )
