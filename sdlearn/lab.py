"""`sdlearn lab`: opens JupyterLab on a chapter, with this Python as its kernel."""

import os
import sys
from importlib.util import find_spec
from urllib.parse import quote

from .packages import pip
from .places import CommandError, course_root, select


def command(notebook="00", browser=True, extra=()):
    """JupyterLab's arguments, for the clone as its root and `notebook` as its first page.

    notebook: a chapter number, a name or a path inside the clone.
    extra: further arguments for JupyterLab.
    Raises CommandError if there is no such notebook, or if it lies outside the clone.
    """
    root = course_root()
    path = select([notebook])[0]
    if root not in path.parents:
        raise CommandError(f"{path} is outside the course ({root}): copy it into its notebooks/")
    page = "/lab/tree/" + quote(path.relative_to(root).as_posix())
    return [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url={page}",
        # A kernelspec "python3" of the user or the system must not bring another Python.
        "--ServerApp.kernel_spec_manager_class=sdlearn.kernel.CoursePython",
        *([] if browser else ["--no-browser"]),
        *extra,
    ]


def lab(notebook="00", browser=True, extra=()):
    """Run JupyterLab until it is shut down; see `command` for the arguments and errors."""
    arguments = command(notebook, browser, extra)
    if find_spec("jupyterlab") is None:
        raise CommandError(
            f"JupyterLab is not installed for this Python ({sys.executable}). Install it with:\n"
            f"    {pip('jupyterlab')}"
        )
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the widgets' Lab part, for one
    # In this very process: Ctrl-C, exit status and interpreter are then JupyterLab's own.
    from jupyterlab.labapp import main

    return main(arguments)
