"""The way through Colab, acted out: a Python with torch but no course, an empty working folder.

A stand-in makes "google.colab" present when the kernel starts, a local git repository takes the
place of GitHub, and pip may not use the network. Chapter 01 runs to its end like that; with
SDLEARN_TEST_ALL=1 the others do too.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import other_python
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import notebooks as tools
from sdlearn.kernel import CellFailed
from sdlearn.places import chapters

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = chapters(ROOT / "notebooks")
PROBE = """
import json, os, sys, torch, sdlearn
from importlib.metadata import version
print(json.dumps({"sdlearn": sdlearn.__file__, "installed": version("sdlearn"), "cwd": os.getcwd(),
                  "torch": torch.__version__, "prefix": sys.prefix}))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Colab is Linux; links need rights on Windows"),
    pytest.mark.skipif(not shutil.which("git"), reason="needs git"),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A git repository with the working tree as it is now, in the place of GitHub's."""
    folder = tmp_path_factory.mktemp("origin") / "sdlearn"
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, check=True).stdout.decode()
    if not listed:
        pytest.skip("the course does not lie in a git clone")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not deleted since the last commit
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "now"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


@pytest.fixture
def colab(tmp_path, origin):
    """A stand-in for a fresh Colab machine: the path of its Python."""
    python = other_python.make(tmp_path / "machine")
    site = other_python.packages(tmp_path / "machine")
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    there = "import os; 'NOT_COLAB' in os.environ or __import__('google.colab')\n"
    (site / "colab.pth").write_text(there, encoding="utf-8")
    (tmp_path / "content").mkdir()
    return python


def run(python, cells, cwd, origin, **env):
    """Run the set-up cell and then these sources; returns what each of those printed."""
    sources = [tools.SETUP.replace("REPOSITORY", "https://github.invalid/none"), *cells]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    return [other_python.printed(c) for c in _execute(python, notebook, cwd, origin, env).cells]


def _execute(python, notebook, cwd, origin, env=None):
    # pip has to make do with what is there: no index, and the setuptools of the tests' Python.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "GIT_TERMINAL_PROMPT": "0"}
    if origin:
        offline["SDLEARN_REPO"] = origin.as_uri()
    return other_python.execute(
        python, notebook, timeout=600, cwd=cwd, env={**offline, **(env or {})}
    )


def torch_files():
    """Every file of the installed torch with its time, but for compiled ones."""
    files = importlib.metadata.files("torch")
    paths = [file.locate() for file in files if "__pycache__" not in file.parts]
    return {path: path.stat().st_mtime_ns for path in map(Path, paths) if path.exists()}


def chapter_marks(number):
    every = os.environ.get("SDLEARN_TEST_ALL") == "1"
    skip = pytest.mark.skipif(number != "01" and not every, reason="SDLEARN_TEST_ALL=1 runs it")
    return pytest.param(number, marks=skip)


@pytest.mark.parametrize("number", [chapter_marks(number) for number in CHAPTERS])
def test_a_chapter_runs_on_colab(number, colab, origin, tmp_path):
    content = tmp_path / "content"
    path = shutil.copy(CHAPTERS[number], content)  # the notebook is all that Colab opens
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(PROBE))
    site = other_python.packages(tmp_path / "machine")
    torch_before, there_before = torch_files(), {entry.name for entry in site.iterdir()}

    found = json.loads(other_python.printed(_execute(colab, notebook, content, origin).cells[-1]))

    clone = content / "sdlearn-course"
    assert Path(found["prefix"]) == tmp_path / "machine"
    assert Path(found["sdlearn"]) == clone / "sdlearn" / "__init__.py"
    assert Path(found["cwd"]) == clone / "notebooks"
    assert found["torch"] == importlib.metadata.version("torch")
    assert torch_files() == torch_before
    new = {entry.name for entry in site.iterdir()} - there_before - {"__pycache__"}
    assert any(name.startswith("sdlearn-") for name in new), "pip did not install the course"
    assert not [name for name in new if "sdlearn" not in name], "pip installed something else"


def test_set_up_twice_and_after_a_restart(colab, origin, tmp_path):
    again = tools.SETUP.replace("REPOSITORY", "https://github.invalid/none")
    content = tmp_path / "content"
    first = json.loads(run(colab, [again, PROBE], content, origin)[-1])
    (content / "sdlearn-course" / "kept").touch()
    # A restarted kernel begins in the first folder again; nothing is fetched a second time.
    second = json.loads(run(colab, [again, PROBE], content, None)[-1])
    assert first == second
    assert Path(second["cwd"]) == content / "sdlearn-course" / "notebooks"
    assert (content / "sdlearn-course" / "kept").exists()
    assert not (content / "sdlearn-course" / "notebooks" / "sdlearn-course").exists()


def test_without_a_network_the_set_up_says_so(colab, tmp_path):
    with pytest.raises(CellFailed) as failed:
        run(colab, [], tmp_path / "content", tmp_path / "nowhere")
    assert "The course cannot be imported" in failed.value.error
    assert "is there a network?" in failed.value.error
    assert "nowhere" in other_python.printed(failed.value.notebook.cells[0]), "git's own message"


def test_elsewhere_the_course_beside_the_notebook_is_found(colab, origin):
    """A notebook opened from the clone with another kernel than the course's."""
    found = run(colab, ["import sdlearn; print(sdlearn.__file__)"], origin / "notebooks", origin,
                NOT_COLAB="1")  # fmt: skip
    assert Path(found[-1].strip()) == origin / "sdlearn" / "__init__.py"
    assert "seed 0" in found[0]


def test_elsewhere_nothing_is_fetched(colab, origin, tmp_path):
    content = tmp_path / "content"
    with pytest.raises(CellFailed, match="choose the kernel of the course's .venv"):
        run(colab, [], content, origin, NOT_COLAB="1")
    assert not list(content.iterdir())


def test_pip_is_told_to_leave_everything_else_alone():
    assert "pip install -qq --no-deps -e sdlearn-course" in tools.SETUP
