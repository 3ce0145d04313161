"""The nbval call of `make test`: what it compares, and which Python runs the cells."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from sdlearn.kernel import execute

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (
    "--nbval-lax --nbval-current-env --nbval-cell-timeout=600 "
    "--nbval-sanitize-with tests/sanitize.cfg"
)
SHOW = """# NBVAL_CHECK_OUTPUT
import torch
from sdlearn import show

print("shape [1, 3, 8, 8]")
pictures = [torch.full((3, 8, 8), value) for value in (0.2, 0.4)]
show.images(pictures, alt="Two grey squares, each of one colour")
show.gif(pictures, alt="A grey square that turns lighter")"""


def elsewhere(outputs, line):
    """What another machine may have stored: other bytes in each picture, and this line above."""
    outputs = json.loads(json.dumps(outputs))
    pictures = 0
    for output in outputs:
        for mime, value in output.get("data", {}).items():
            if mime == "text/html":
                value, count = re.subn("base64,[A-Za-z0-9+/=]+", "base64,QUJD", value)
                pictures += count
            output["data"][mime] = "QUJD" if mime.startswith("image/") else value
    assert pictures == 2 and outputs[0]["name"] == "stdout"
    outputs[0]["text"] = line
    return [nbformat.from_dict(output) for output in outputs]


def cell(source, outputs=()):
    return new_code_cell(source, execution_count=1, outputs=list(outputs))


def checked(code, stored):
    return cell(f"# NBVAL_CHECK_OUTPUT\n{code}", [new_output("stream", name="stdout", text=stored)])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The cells that fail in four small notebooks, {"name 0", …}, and what pytest printed."""
    folder = tmp_path_factory.mktemp("nbval") / "notebooks"
    folder.mkdir()
    shown = execute(new_notebook(cells=[new_code_cell(SHOW)]), cwd=folder).cells[0].outputs
    where = "import os, sys\nprint(sys.executable, os.getcwd())"
    for name, *cells in [
        ("pictures", cell(SHOW, elsewhere(shown, "shape [1, 3, 8, 8]\n"))),
        (
            "changed",
            cell(SHOW, elsewhere(shown, "shape [1, 3, 9, 9]\n")),
            checked("print(1)", "2\n"),
        ),
        ("where", checked(where, f"{sys.executable} {folder}\n"), cell("x = 1")),
        ("alone", cell("assert 'x' not in dir()"), cell("1 / 0")),
    ]:
        notebook = new_notebook(cells=cells)
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    # A kernel of the same name elsewhere on the machine must not be the one that runs.
    kernel = folder.parent / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "x"}
    kernel.write_text(json.dumps(spec), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *COMMAND.split(), "-p", "no:cacheprovider"]
        + ["--color=no", str(folder)],
        cwd=ROOT,
        env={**os.environ, "JUPYTER_PATH": str(folder.parent / "jupyter")},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    log = done.stdout + done.stderr
    lines = [line.split() for line in log.splitlines() if line.startswith(("FAILED", "ERROR"))]
    failed = {f"{Path(words[1].split('::')[0]).stem} {words[2]}" for words in lines}
    assert "passed" in log, log
    return failed, log


def test_pictures_may_differ_and_text_may_not(outcomes):
    failed, log = outcomes
    assert failed == {"changed 0", "changed 1", "alone 1"}, log


def test_every_notebook_runs_by_itself_on_this_python(outcomes):
    failed, log = outcomes
    assert not {"where 0", "alone 0"} & failed, log


def test_the_call_is_the_one_of_make_test():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    assert COMMAND in " ".join(makefile.split())
