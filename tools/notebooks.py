"""Keeps the stored notebooks in order; for whoever edits a chapter.

    python tools/notebooks.py py 01             write build/01_….py (jupytext's percent format)
    python tools/notebooks.py ipynb 01          take the edited build/01_….py back, then refresh
    python tools/notebooks.py refresh 01        rewrite the generated cells
    python tools/notebooks.py execute 01        refresh, run from top to bottom, store the outputs
    python tools/notebooks.py pictures 01       write every picture to build/pictures, to look at
    python tools/notebooks.py check             fail if a generated cell is out of date

Chapters are given by number, name or path; none means all. Generated are: the set-up cell (cell
metadata {"sdlearn": {"setup": true}}), the mirror cells ({"sdlearn": {"mirror":
"sdlearn.unet:ResnetBlock2D"}} holds exactly that object's source) and the address of the Colab
badge below the title.
"""

import argparse
import base64
import copy
import difflib
import importlib
import inspect
import io
import os
import re
import subprocess
import sys
import textwrap
from html import unescape
from pathlib import Path

import nbformat

from sdlearn.kernel import CellFailed
from sdlearn.kernel import execute as run_cells
from sdlearn.places import CommandError, select
from sdlearn.run import Progress, strip_widgets

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}
BADGE_PICTURE = "https://colab.research.google.com/assets/colab-badge.svg"
SETUP = """\
# Set-up, the same in every chapter: on Colab it fetches the course, elsewhere it only finds it.
import os
import sys
from pathlib import Path

if "google.colab" in sys.modules and not Path("../sdlearn").is_dir():
    address = os.getenv("SDLEARN_REPO", "REPOSITORY")
    !test -d sdlearn-course || git clone -q --depth 1 {address} sdlearn-course
    !{sys.executable} -m pip install -qq --no-deps -e sdlearn-course
    %cd -q sdlearn-course/notebooks
if Path("../sdlearn").is_dir():
    sys.path.insert(0, str(Path.cwd().parent))
try:
    from sdlearn import runtime
except ImportError as error:
    remedy = "On Colab: is there a network? Elsewhere: choose the kernel of the course's .venv"
    raise RuntimeError(f"The course cannot be imported: {error}. {remedy}") from None

device = runtime.start(seed=0)"""
_BAR = re.compile(r"\s*(\S.*: +)?\d+%\|")  # what tqdm's widget leaves in a stored notebook
_KEPT = ("sdlearn", "tags", "jupyter")  # of a cell's metadata
_PICTURES = {"image/png": "png", "image/gif": "gif", "image/jpeg": "jpg", "image/webp": "webp"}


# The generated cells.


def repository():
    """The address of the course's repository: it is kept in pyproject.toml and nowhere else."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "(https://.+?)/?"$', text, re.MULTILINE)
    if not found:
        raise CommandError('pyproject.toml has no line `Repository = "https://…"`: put it back')
    return found[1]


def badge(name):
    """The Markdown of the "Open in Colab" badge of the notebook file `name`."""
    place = repository().removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{name}"
    return f"[![Open in Colab]({BADGE_PICTURE})]({address})"


def mirrored(target):
    """The source of "module:object", without indentation: what its mirror cell holds.

    Raises CommandError if there is no such module, object, or source.
    """
    module, _, name = target.partition(":")
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return textwrap.dedent(inspect.getsource(found)).rstrip()
    except (ImportError, AttributeError, TypeError, OSError, ValueError) as error:
        raise CommandError(
            f"the mirror {target!r} has no source to show ({error}); "
            'expected "module:object" with a class or function, as "sdlearn.unet:UNet"'
        ) from None


def refreshed(notebook, name):
    """A copy of `notebook`, stored as the file `name`, with its generated cells renewed."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        marks = cell.metadata.get("sdlearn", {})
        if "mirror" in marks:
            cell.source = mirrored(marks["mirror"])
        if marks.get("setup"):
            cell.source = SETUP.replace("REPOSITORY", repository())
    if notebook.cells and notebook.cells[0].cell_type == "markdown":
        notebook.cells[0].source = _with_badge(notebook.cells[0].source, badge(name))
    return notebook


def _with_badge(source, badge):
    """The title cell with the right badge: in place of the old one, else below the title."""
    old = re.compile(r"\[!\[[^\]]*\]\([^)]*colab-badge[^)]*\)\]\([^)]*\)")
    if old.search(source):
        return old.sub(lambda _: badge, source, count=1)
    heading, _, rest = source.partition("\n")
    return f"{heading}\n\n{badge}\n\n{rest.lstrip()}".rstrip()


def outdated(path):
    """What refresh would change in the notebook at `path`: a diff of its first such cell, or ""."""
    notebook = load(path)
    for k, (old, new) in enumerate(zip(notebook.cells, refreshed(notebook, path.name).cells)):
        if old.source != new.source:
            sides = (f"{path.name}, cell {k} as stored", "as generated")
            lines = [side.splitlines() for side in (old.source, new.source)]
            return "\n".join(difflib.unified_diff(*lines, *sides, lineterm=""))
    return ""


# Reading and writing.


def load(path):
    """The notebook at `path`. Raises CommandError if it is not one."""
    try:
        return nbformat.reads(Path(path).read_text(encoding="utf-8"), as_version=4)
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise CommandError(f"{path} is not a Jupyter notebook: {str(error)[:200]}") from None


def save(notebook, path):
    """Write the notebook in one go: an interruption leaves the old file whole."""
    nbformat.validate(notebook)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes((nbformat.writes(notebook).rstrip("\n") + "\n").encode())
    os.replace(temporary, path)


def tidy(notebook):
    """Drop what differs from run to run and tells the reader nothing. In place; returns it.

    Widgets (their picture or HTML stays), progress bars, timings, versions, editors' notes;
    pieces of one printed text are joined.
    """
    strip_widgets(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in _KEPT if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = _joined(output for output in cell.outputs if not _is_bar(output))
    return notebook


def _is_bar(output):
    data = output.get("data", {})
    return set(data) == {"text/plain"} and bool(_BAR.match(data["text/plain"]))


def _joined(outputs):
    """Outputs with neighbouring pieces of the same stream made one."""
    joined = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == last.get("output_type") == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def pictures(notebook):
    """Yield (execution count, mime type, bytes, alt text) of every picture in the outputs."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            html = "".join(data.get("text/html", ""))
            alts = [unescape(alt) for alt in re.findall(r'<img [^>]*?alt="([^"]*)"', html)]
            plain = [(mime, data[mime]) for mime in _PICTURES if mime in data]
            inside = re.findall(r'src="data:(image/\w+);base64,([^"]+)"', html)
            # A picture is easiest to look at as PNG; an animation is only in the HTML.
            animated = any(mime == "image/gif" for mime, _ in inside)
            for k, (mime, text) in enumerate(inside if animated or not plain else plain):
                alt = alts[k] if k < len(alts) else ""
                yield cell.execution_count, mime, base64.b64decode("".join(text)), alt


def _sheet(animation, most=12):
    """Up to `most` frames of a GIF, enlarged, side by side in a PIL picture; None if it has one."""
    from PIL import Image, ImageSequence

    frames = [f.convert("RGB") for f in ImageSequence.Iterator(Image.open(io.BytesIO(animation)))]
    if len(frames) < 2:
        return None
    count = min(most, len(frames))
    chosen = [frames[round(k * (len(frames) - 1) / (count - 1))] for k in range(count)]
    scale = max(1, 160 // chosen[0].width)
    chosen = [frame.resize([scale * side for side in frame.size], 0) for frame in chosen]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (min(4, count) * (width + 4), -(-count // 4) * (height + 4)), "white")
    for k, frame in enumerate(chosen):
        sheet.paste(frame, (k % 4 * (width + 4), k // 4 * (height + 4)))
    return sheet


# The commands. Each returns the exit status.


def refresh_command(paths, options):
    for path in paths:
        if outdated(path):
            save(refreshed(load(path), path.name), path)
            print(f"{path.name}: refreshed; `execute` it to renew its outputs")
    return 0


def check_command(paths, options):
    for path in paths:
        if difference := outdated(path):
            print(f"{difference}\n\n{path.name} is out of date: python tools/notebooks.py refresh")
            return 1
    return 0


def execute_command(paths, options):
    # What the reader's own environment says about devices and grading must not be stored.
    env = {"SDLEARN_DEVICE": "cpu", "SDLEARN_PROGRESS": "off", "SDLEARN_STRICT": ""}
    for path in paths:
        progress = Progress(path.stem, sys.stdout)
        notebook = refreshed(load(path), path.name)
        try:
            with progress:
                run = run_cells(notebook, options.timeout, progress, env=env, cwd=path.parent)
        except CellFailed as failed:
            print(f"{path.name}: {failed}; left as it was\n\n{failed.source}\n\n{failed.details}")
            return 1
        save(tidy(run), path)
        seconds = sum(cell[0] for cell in progress.cells)
        progress.end(f"{progress.total} cells, {seconds:.1f} s, {path.stat().st_size >> 10} KiB")
        print(progress.slowest(), end="")
    return 0


def pictures_command(paths, options):
    for path in paths:
        out = Path(options.out) / path.stem
        out.mkdir(parents=True, exist_ok=True)
        for k, (count, mime, data, alt) in enumerate(pictures(load(path)), 1):
            file = out / f"{k:02}-cell{count}.{_PICTURES[mime]}"
            file.write_bytes(data)
            if mime == "image/gif" and (sheet := _sheet(data)):
                sheet.save(file := file.with_suffix(".frames.png"))
            print(f"{file}: {alt or 'no alt text'}")
    return 0


def py_command(paths, options):
    for path in paths:
        target = _script(path)
        target.parent.mkdir(exist_ok=True)
        _jupytext("--to", "py:percent", path, "--output", target)
    return 0


def ipynb_command(paths, options):
    for path in paths:
        if not _script(path).is_file():
            raise CommandError(f"{_script(path)} is missing: `py {path.stem}` writes it")
        # --update keeps the cells' ids, metadata and outputs.
        _jupytext("--update", "--to", "ipynb", _script(path), "--output", path)
        save(refreshed(tidy(load(path)), path.name), path)
    return 0


def _script(path):
    return BUILD / f"{path.stem}.py"


def _jupytext(*arguments):
    subprocess.run([sys.executable, "-m", "jupytext", *map(str, arguments)], check=True)


COMMANDS = {
    "py": py_command,
    "ipynb": ipynb_command,
    "refresh": refresh_command,
    "execute": execute_command,
    "pictures": pictures_command,
    "check": check_command,
}


def main(arguments=None):
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("names", nargs="*", help="numbers, names or paths; all chapters if none")
    parser.add_argument("--out", default=BUILD / "pictures", help="where pictures go")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one cell (600)")
    options = parser.parse_args(arguments)
    try:
        return COMMANDS[options.command](select(options.names), options)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
