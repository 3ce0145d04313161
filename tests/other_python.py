"""A second Python, with what the tests run on but without the course, and notebooks run on it."""

import os
import re
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from sdlearn import kernel

_COURSE = re.compile(r"(__editable__.*)?sdlearn|__pycache__|.*\.pth$|.*\.egg-link$", re.IGNORECASE)


def make(folder, with_pip=False):
    """Make a virtual environment in `folder`, linked to what the tests run on; returns its Python.

    It sees every package that the tests run on except the course itself; its own packages, if it
    gets any, come before those.
    """
    venv.EnvBuilder(with_pip=with_pip, symlinks=os.name != "nt").create(folder)
    return link(folder)


def link(folder):
    """Make or renew the links of the environment in `folder`; returns its Python."""
    linked = Path(folder) / "linked-packages"
    shutil.rmtree(linked, ignore_errors=True)
    linked.mkdir()
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site).iterdir():
            if not _COURSE.match(entry.name):
                (linked / entry.name).symlink_to(entry)
    # A folder named by a .pth file joins sys.path, and .pth files inside it are not read.
    (packages(folder) / "linked.pth").write_text(f"{linked}\n", encoding="utf-8")
    scripts = "Scripts" if os.name == "nt" else "bin"
    return Path(folder) / scripts / Path(sys.executable).name


def packages(folder):
    """The site-packages folder of the environment in `folder`."""
    scheme = "nt" if os.name == "nt" else "posix_prefix"
    return Path(sysconfig.get_path("purelib", scheme, vars={"base": str(folder)}))


def execute(python, notebook, **options):
    """sdlearn.kernel.execute, with a kernel of another Python."""
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "other", "language": "python"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "get_kernel_dict", lambda *_: spec)
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"):
            patch.delenv(name, raising=False)
        return kernel.execute(notebook, **options)


def printed(cell):
    """What a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)
