"""tools/notebooks.py: generated cells, running and storing, pictures, the way through jupytext."""

import base64
import inspect
import io

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import notebooks as tools
from sdlearn import diffusion
from sdlearn.places import CommandError

MIRROR = "sdlearn.diffusion:q_sample"


def write(path, *cells):
    notebook = new_notebook(cells=[new_markdown_cell("# 01 · Title\n\nText."), *cells])
    nbformat.write(notebook, path)
    return path


def mirror(target=MIRROR, source=""):
    return new_code_cell(source, metadata={"sdlearn": {"mirror": target}})


def set_up(source=""):
    return new_code_cell(source, metadata={"sdlearn": {"setup": True}})


@pytest.fixture
def path(tmp_path):
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks" / "01_title.ipynb"


def test_refresh_writes_mirror_set_up_and_badge_once(path, capsys):
    write(path, set_up(), mirror(), new_code_cell("print(1)"))
    assert tools.main(["check", str(path)]) == 1
    assert tools.main(["refresh", str(path)]) == 0
    stored = path.read_bytes()
    cells = tools.load(path).cells
    assert cells[2].source == inspect.getsource(diffusion.q_sample).rstrip()
    assert "device = runtime.start(seed=0)" in cells[1].source
    assert f'"{tools.repository()}"' in cells[1].source
    heading, badge, text = cells[0].source.split("\n\n")
    assert (heading, text) == ("# 01 · Title", "Text.")
    assert badge.endswith(
        tools.repository().replace(
            "https://github.com", "(https://colab.research.google.com/github"
        )
        + "/blob/main/notebooks/01_title.ipynb)"
    )
    assert cells[3].source == "print(1)"
    capsys.readouterr()
    assert tools.main(["check", str(path)]) == tools.main(["refresh", str(path)]) == 0
    assert path.read_bytes() == stored
    assert capsys.readouterr().out == ""


def test_check_shows_the_first_difference(path, capsys):
    write(path, set_up(), mirror())
    tools.main(["refresh", str(path)])
    notebook = tools.load(path)
    notebook.cells[2].source = notebook.cells[2].source.replace("return ", "return 2 * ")
    nbformat.write(notebook, path)
    before = path.read_bytes()
    capsys.readouterr()
    assert tools.main(["check", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "cell 2" in printed and "-    return 2 * " in printed and "+    return " in printed
    assert path.read_bytes() == before


def test_a_renamed_notebook_needs_a_new_badge(path):
    write(path)
    tools.main(["refresh", str(path)])
    renamed = path.rename(path.with_name("02_other.ipynb"))
    assert "01_title" in tools.outdated(renamed)
    tools.main(["refresh", str(renamed)])
    assert tools.load(renamed).cells[0].source.count("colab-badge") == 1


def test_a_method_is_mirrored_without_indentation():
    source = tools.mirrored("sdlearn.schedule:NoiseSchedule.snr")
    assert source.startswith("def snr(") and not source.endswith("\n")


@pytest.mark.parametrize(
    "target",
    ["sdlearn.nothing:x", "sdlearn.diffusion:nothing", "sdlearn.diffusion", "sdlearn:__version__"],
)
def test_a_mirror_of_nothing_is_an_error_that_names_it(target, path, capsys):
    write(path, mirror(target))
    with pytest.raises(CommandError, match='expected "module:object"'):
        tools.mirrored(target)
    before = path.read_bytes()
    assert tools.main(["refresh", str(path)]) == 1
    assert repr(target) in capsys.readouterr().err
    assert path.read_bytes() == before


def test_set_up_cell_is_short_and_the_same_everywhere(path):
    lines = [line for line in tools.SETUP.splitlines() if line.strip()]
    assert len(lines) < 20 and max(map(len, lines)) <= 100


def test_execute_stores_outputs_without_noise(path):
    write(
        path,
        set_up(),
        mirror(),
        new_code_cell("import sys\nprint(1); sys.stdout.flush(); print(2)"),
        new_code_cell(
            "import ipywidgets\nfrom tqdm.auto import tqdm\n"
            "for _ in tqdm(range(3)):\n    pass\nprint('done')"
        ),
        new_code_cell(
            "box = ipywidgets.IntSlider()\n"
            "view = {'version_major': 2, 'version_minor': 0, 'model_id': box.model_id}\n"
            "display({'text/html': '<b>still</b>', 'text/plain': 'still',\n"
            "         'application/vnd.jupyter.widget-view+json': view}, raw=True)"
        ),
        new_code_cell("import os\nos.environ['SDLEARN_PROGRESS'], os.environ['SDLEARN_DEVICE']"),
    )
    notebook = tools.load(path)
    notebook.metadata.widgets = {"state": {}}
    notebook.cells[3].metadata.update(execution={"iopub": "now"}, lines_to_next_cell=2, tags=["a"])
    nbformat.write(notebook, path)
    ids = [cell.id for cell in tools.load(path).cells]
    assert tools.main(["execute", str(path)]) == 0
    done = tools.load(path)
    assert [cell.id for cell in done.cells] == ids
    assert [cell.get("execution_count") for cell in done.cells] == [None, 1, 2, 3, 4, 5, 6]
    assert set(done.metadata) == {"kernelspec", "language_info"}
    assert "version" not in done.metadata.language_info
    assert done.cells[3].metadata == {"tags": ["a"]}
    outputs = [cell.get("outputs") for cell in done.cells]
    assert "device cpu" in outputs[1][0].text
    assert [output.text for output in outputs[3]] == ["1\n2\n"]
    assert [output.get("text") for output in outputs[4]] == ["done\n"]
    assert outputs[5][0].data == {"text/html": "<b>still</b>", "text/plain": "still"}
    assert outputs[6][0].data["text/plain"] == "('off', 'cpu')"
    again = path.read_bytes()
    assert tools.main(["check", str(path)]) == 0
    assert tools.main(["execute", str(path)]) == 0
    assert path.read_bytes() == again
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failing_cell_leaves_the_stored_notebook(path, capsys):
    write(path, mirror(), new_code_cell("x = 0"), new_code_cell("print(1 / x)"))
    before = path.read_bytes()
    assert tools.main(["execute", str(path)]) == 1
    assert path.read_bytes() == before
    printed = capsys.readouterr().out
    assert "cell 3 of 3" in printed and "ZeroDivisionError" in printed and "1 / x" in printed


def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch):
    write(path)
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tools.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tools.save(tools.load(path), path)
    assert path.read_bytes() == before


def encoded(kind, frames=1):
    data = io.BytesIO()
    pictures = [Image.new("RGB", (4, 4), (60 * k, 0, 0)) for k in range(frames)]
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(data, kind, **more)
    return data.getvalue()


def test_pictures_are_written_with_their_cell(path, tmp_path, capsys):
    png, gif, webp = encoded("PNG"), encoded("GIF", frames=3), encoded("WEBP")
    outputs = [
        {"text/html": '<img alt="A &quot;red&quot; square">', "image/png": png},
        {
            "text/html": '<img alt="A blinking square" src="data:image/gif;base64,'
            + base64.b64encode(gif).decode()
            + '">',
            "image/png": png,
        },
        {
            "text/html": '<img alt="Only in the HTML" src="data:image/webp;base64,'
            + base64.b64encode(webp).decode()
            + '">'
        },
    ]
    for data in outputs:
        for mime in data:
            if mime.startswith("image/"):
                data[mime] = base64.b64encode(data[mime]).decode()
    cell = new_code_cell("draw()", execution_count=7)
    cell.outputs = [new_output("display_data", data=data) for data in outputs]
    write(path, cell)
    assert tools.main(["pictures", str(path), "--out", str(tmp_path / "out")]) == 0
    out = tmp_path / "out" / "01_title"
    assert (out / "01-cell7.png").read_bytes() == png
    assert (out / "02-cell7.gif").read_bytes() == gif
    assert (out / "03-cell7.webp").read_bytes() == webp
    assert Image.open(out / "02-cell7.frames.png").width == 3 * (160 + 4)
    assert len(list(out.iterdir())) == 4
    printed = capsys.readouterr().out
    assert 'A "red" square' in printed and "Only in the HTML" in printed


def test_editing_as_a_script_keeps_ids_metadata_and_outputs(path, tmp_path, monkeypatch):
    pytest.importorskip("jupytext")
    monkeypatch.setattr(tools, "BUILD", tmp_path / "build")
    marked = new_markdown_cell("Remarks.", metadata={"tags": ["remark"]})
    checked = new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(1)", metadata={"tags": ["a"]})
    write(path, set_up(), mirror(), marked, checked)
    assert tools.main(["execute", str(path)]) == 0
    before = tools.load(path)
    assert tools.main(["py", str(path)]) == 0
    script = tmp_path / "build" / "01_title.py"
    text = script.read_text(encoding="utf-8")
    # Unchanged: nothing at all happens. (The set-up cell has shell commands in it.)
    stored = path.read_bytes()
    assert tools.main(["ipynb", str(path)]) == 0
    assert path.read_bytes() == stored
    script.write_text(text.replace("# Remarks.", "# New remarks: naïve."), encoding="utf-8")
    assert tools.main(["ipynb", str(path)]) == 0
    after = tools.load(path)
    assert after.cells[3].source == "New remarks: naïve."
    assert [cell.metadata for cell in after.cells] == [cell.metadata for cell in before.cells]
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert after.cells[4] == before.cells[4] and after.cells[1] == before.cells[1]


def test_unknown_names_are_an_error(capsys):
    assert tools.main(["refresh", "99_nothing"]) == 1
    assert "99_nothing" in capsys.readouterr().err
