"""`sdlearn doctor`: what the course needs, what this machine has, and what to do about the rest.

Every check stands alone and imports what it looks at itself, so that the report is complete
on a machine where torch, datasets or anything else is missing or broken.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from .machine import memory
from .packages import check_lab_packages, check_packages, pip
from .places import chapters, course_root, in_colab

_GB = 2**30
_PYTHON_MIN, _PYTHON_BELOW = (3, 10), (3, 14)


def report():
    """Examine this machine; returns a list of dicts with check, status, found and remedy.

    status is "ok", "note" (works, but you may want to know) or "MISSING" (something that the
    course needs; the remedy says what to do).
    """
    rows = []
    for check in _CHECKS:
        hidden = io.StringIO()  # what packages print while they are imported
        try:
            with (
                warnings.catch_warnings(),
                contextlib.redirect_stdout(hidden),
                contextlib.redirect_stderr(hidden),
            ):
                warnings.simplefilter("ignore")
                rows += check()
        except Exception as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            reason = (str(error).strip().splitlines() or [""])[0][:300]
            remedy = "see the other lines: one of them is most likely the cause"
            rows.append((name, "MISSING", f"{type(error).__name__}: {reason}", remedy))
    return [dict(zip(("check", "status", "found", "remedy"), row)) for row in rows]


def show():
    """Print the report, a line for each check: for a notebook cell or a terminal."""
    print(as_text(report()))


def as_text(rows):
    """The rows of `report` as lines of text, with each remedy under its check."""
    width = max(len(row["check"]) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row['status']:8} {row['check']:{width}}  {row['found']}")
        lines += [f"{'':8} -> {row['remedy']}"] if row["remedy"] else []
    missing = sum(row["status"] == "MISSING" for row in rows)
    if missing:
        things = "One thing the course needs is" if missing == 1 else f"{missing} things are"
        lines.append(f"\n{things} missing. Repair them from the top and look again.")
    else:
        lines.append("\nEverything the course needs is here.")
    return "\n".join(lines)


def main(as_json=False):
    """Print the report, as text or as JSON; returns the exit status, 1 if something is missing."""
    rows = report()
    ok = all(row["status"] != "MISSING" for row in rows)
    print(json.dumps({"ok": ok, "checks": rows}, indent=2) if as_json else as_text(rows))
    return 0 if ok else 1


def check_python():
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _PYTHON_MIN:
        return [("python", "MISSING", version, "install Python 3.12 and make a new environment")]
    if sys.version_info[:2] >= _PYTHON_BELOW:
        remedy = "if a package fails, make an environment with Python 3.12"
        return [("python", "note", f"{version}, newer than the tested 3.10 to 3.13", remedy)]
    return [("python", "ok", version, "")]


def check_course():
    from . import __version__

    try:
        number = len(chapters(course_root() / "notebooks"))
    except FileNotFoundError as error:
        return [("course", "MISSING", f"{__version__}, without its folder", str(error))]
    return [("course", "ok", f"{__version__}, {number} chapters", "")]


def check_torch_at_work():
    import torch

    a = torch.arange(6.0).reshape(2, 3)
    if (a @ a.T).tolist() != [[5.0, 14.0], [14.0, 50.0]]:
        remedy = pip("--force-reinstall torch")
        return [("torch at work", "MISSING", "a small matrix product comes out wrong", remedy)]
    return [("torch at work", "ok", "a small matrix product is right", "")]


def check_device():
    import torch

    from . import runtime

    try:
        device = runtime.device()
    except (ValueError, RuntimeError) as error:
        return [("device", "MISSING", "the chosen device is not to be had", str(error))]
    dtype = runtime.amp_dtype(device)
    a = torch.ones(64, 64, device=device, dtype=dtype)
    if (a @ a).float().unique().tolist() != [64.0]:
        found = f"{runtime.device_name(device)}: a small matrix product comes out wrong"
        return [("device", "MISSING", found, "update its driver, or set SDLEARN_DEVICE=cpu")]
    gain = f"gains by {str(dtype).removeprefix('torch.')}" if dtype else "gains nothing"
    found = f"{runtime.device_name(device)}; mixed precision {gain}"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        found += f"; {free / _GB:.1f} of {total / _GB:.1f} GB free"
    remedy = _faster() if device.type == "cpu" and not os.environ.get("SDLEARN_DEVICE") else ""
    return [("device", "note" if remedy else "ok", found, remedy)]


def _faster():
    """What would give this CPU session a GPU; empty if nothing is known to."""
    if in_colab():
        return "for a GPU: Runtime, Change runtime type, T4 GPU"
    tool = shutil.which("nvidia-smi")
    if tool:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
        if listed.returncode == 0 and "GPU" in listed.stdout:
            return (
                "an NVIDIA GPU is here, but this torch does not use it: install the build for "
                "your driver, see https://pytorch.org/get-started/locally"
            )
    return ""


def check_memory():
    total, free = memory()
    if total is None:
        return [("memory", "note", "unknown: psutil is not installed", pip("psutil"))]
    found = f"{free / _GB:.1f} of {total / _GB:.1f} GB free"
    if total < 2 * _GB:
        return [("memory", "MISSING", found, "use a machine with 4 GB or more, or Colab")]
    if free < 2 * _GB:
        return [("memory", "note", found, "close other programs and notebooks before training")]
    return [("memory", "ok", found, "")]


def check_disk():
    free = shutil.disk_usage(_root()).free
    found = f"{free / _GB:.1f} GB free"
    if free < 0.5 * _GB:
        return [("disk", "MISSING", found, "free at least 1 GB on the disk that has the course")]
    if free < 3 * _GB:
        return [("disk", "note", found, "enough for the course, not for other people's models")]
    return [("disk", "ok", found, "")]


def check_folders():
    """Whether the folders that chapters and packages write to can be written to."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    folders = {"course": _root(), "temporary files": Path(tempfile.gettempdir())}
    bad = [f"{name}: {folder}" for name, folder in folders.items() if not _writable(folder)]
    if bad:
        remedy = "give yourself the right to write there, or move the course to your home folder"
        return [("folders", "MISSING", "cannot write to " + ", ".join(bad), remedy)]
    if not _writable(home):
        remedy = "set HF_HOME to a folder of yours; the chapters run without it"
        return [("folders", "note", f"cannot write to Hugging Face's cache: {home}", remedy)]
    return [("folders", "ok", "can be written to", "")]


def _writable(folder):
    """True if a file can be made in the folder, or in the nearest one above that exists."""
    folder = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_data():
    folder = Path(os.environ.get("SDLEARN_DATA") or _root() / "data") / "emoji"
    remedy = "fetch it again: `git checkout -- data` in the course's folder, or clone anew"
    if not folder.is_dir():
        return [("data", "MISSING", f"no folder {folder}", remedy)]
    from .data import verify

    problems = verify(folder)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return [("data", "MISSING", f"{problems[0]}{more}", remedy)]
    return [("data", "ok", "data/emoji is whole", "")]


def check_jupyter_kernel():
    import ipykernel

    found = f"ipykernel {ipykernel.__version__}"
    if in_colab():
        return [("jupyter kernel", "ok", found, "")]
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    if os.path.isabs(command) and not _same_python(command):
        found += f", but a plain `jupyter lab` would start {command}"
        return [("jupyter kernel", "note", found, "open the course with `sdlearn lab`")]
    return [("jupyter kernel", "ok", found, "")]


def _same_python(command):
    """Whether the command lies in this Python's folder (there it may be python or python3)."""
    folders = [os.path.dirname(os.path.abspath(path)) for path in (command, sys.executable)]
    return os.path.normcase(folders[0]) == os.path.normcase(folders[1])


def check_widgets():
    import ipywidgets

    ipywidgets.IntSlider(0, 0, 10)
    major = int(ipywidgets.__version__.split(".")[0])
    found = f"ipywidgets {ipywidgets.__version__}"
    if in_colab():  # Colab has a widget manager of its own
        return [("widgets", "ok", found, "")]
    manager = _widget_manager()
    if manager is None:
        remedy = "sliders show as pictures in JupyterLab without it: " + pip("jupyterlab_widgets")
        return [("widgets", "note", f"{found}, without its part for JupyterLab", remedy)]
    folder, version = manager
    # ipywidgets 7 speaks to @jupyter-widgets/jupyterlab-manager 3, ipywidgets 8 to 5.
    if int(version.split(".")[0]) != {7: 3, 8: 5}.get(major):
        remedy = pip("--upgrade ipywidgets jupyterlab_widgets") + f"   (found in {folder})"
        found += f" and JupyterLab's widget manager {version} do not fit: sliders stay empty"
        return [("widgets", "note", found, remedy)]
    return [("widgets", "ok", f"{found}, JupyterLab's widget manager {version}", "")]


def _widget_manager():
    """Folder and version of the widget manager that JupyterLab would load, or None."""
    from jupyter_core.paths import jupyter_path

    for folder in map(Path, jupyter_path("labextensions")):
        package = folder / "@jupyter-widgets" / "jupyterlab-manager" / "package.json"
        if package.is_file():
            return package.parent, json.loads(package.read_text(encoding="utf-8"))["version"]
    return None


def _root():
    """The clone, or the working folder where there is none (check_course says so)."""
    try:
        return course_root()
    except FileNotFoundError:
        return Path.cwd()


_CHECKS = (
    check_python,
    check_course,
    check_packages,
    check_torch_at_work,
    check_device,
    check_memory,
    check_disk,
    check_folders,
    check_data,
    check_jupyter_kernel,
    check_widgets,
    check_lab_packages,
)
