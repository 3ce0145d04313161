"""The slider, the table of progress and chapter 01 on the versions that Colab has, headless.

Colab's ipywidgets, IPython and ipykernel are years older than JupyterLab's. They go into a virtual
environment in .cache/, made once; torch is the one that the tests run on. Where pip cannot install
them the tests are skipped, and fail if CI=true.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import other_python
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from sdlearn.places import chapters

ROOT = Path(__file__).resolve().parents[1]
PINS = [
    "ipywidgets==7.7.1",
    "IPython==7.34.0",
    "ipykernel==6.17.1",
    "datasets==4.0.0",
    "diffusers==0.39.0",
    "transformers==5.15.0",
    "numpy==2.1.3",
    "pillow==11.3.0",
    "matplotlib==3.10.0",
]
WIDGET = "application/vnd.jupyter.widget-view+json"
VERSIONS = f"""
from importlib.metadata import version
for pin in {PINS}:
    name, wanted = pin.split("==")
    assert version(name) == wanted, (name, version(name))
import ipywidgets, IPython
print(ipywidgets.__version__, IPython.__version__)
"""
SLIDER = """
import torch
from sdlearn import show

ramp = torch.linspace(-1, 1, 64).expand(1, 64, 64)
show.slider(lambda t: ramp * t / 10, range(10), alt="A ramp that gains contrast with t")
"""
# What the browser sends when the handle is moved ends in set_state.
MOVE = """
import ipywidgets

for handle in [w for w in ipywidgets.Widget.widgets.values() if type(w).__name__ == "IntSlider"]:
    box = next(w for w in ipywidgets.Widget.widgets.values()
               if type(w).__name__ == "VBox" and handle in w.children[0].children)
    picture, number = box.children[1], box.children[0].children[1]
    before = picture.value, number.value
    handle.set_state({"value": handle.max})
    assert picture.value != before[0] and picture.value.startswith("<img alt="), picture.value[:80]
    assert number.value != before[1]
    print("the slider moved")
"""
PROGRESS = """
from sdlearn.exercises import progress

progress()
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Colab is Linux; links need rights on Windows"),
]


@pytest.fixture(scope="module")
def colab():
    """The Python of an environment with Colab's versions."""
    folder = ROOT / ".cache" / f"colab-python{sys.version_info[0]}.{sys.version_info[1]}"
    stamp, made = folder / "pins", " ".join([sys.executable, *PINS])
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != made:
        shutil.rmtree(folder, ignore_errors=True)
        python = other_python.make(folder, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PINS]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(folder)
            reason = f"pip cannot install Colab's versions here: {done.stderr[-1500:]}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        stamp.write_text(made, encoding="utf-8")
    return other_python.link(folder)


def run(python, notebook, cwd):
    env = {"PYTHONPATH": str(ROOT), "SDLEARN_DEVICE": "cpu"}
    return other_python.execute(python, notebook, timeout=600, cwd=cwd, env=env).cells


def test_slider_and_progress(colab, tmp_path):
    sources = [VERSIONS, SLIDER, MOVE, PROGRESS]
    cells = run(colab, new_notebook(cells=[new_code_cell(s) for s in sources]), tmp_path)
    assert other_python.printed(cells[0]).split() == ["7.7.1", "7.34.0"]
    (slider,) = [output.data for output in cells[1].outputs]
    assert {WIDGET, "text/html", "image/png", "text/plain"} <= set(slider)
    assert "the slider moved" in other_python.printed(cells[2])
    shown = cells[3].outputs
    assert shown, "progress() shows nothing"
    for output in shown:
        assert output.output_type != "error" and output.get("name") != "stderr"


def test_chapter_01_on_colabs_versions(colab):
    path = chapters(ROOT / "notebooks").get("01")
    if path is None:
        pytest.skip("there is no chapter 01 here")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [new_code_cell(source) for source in (VERSIONS, MOVE, PROGRESS)]
    cells = run(colab, notebook, path.parent)
    assert "the slider moved" in other_python.printed(cells[-2])
    warned = [
        output.text
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stderr"
    ]
    assert not warned
