"""Every stored chapter keeps every rule of hygiene.py, and every rule catches who breaks it."""

import base64
import inspect

import hygiene
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import notebooks as tools
from sdlearn.places import chapters

CHAPTERS = list(chapters(hygiene.ROOT / "notebooks").values())


@pytest.mark.parametrize("rule", hygiene.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_keeps(path, rule):
    wrong = list(rule(tools.load(path), path))
    assert not wrong, "\n".join([f"{path.name}:", *wrong])


def test_chapter_numbers_are_used_once_and_without_gaps():
    names = sorted(path.name for path in (hygiene.ROOT / "notebooks").glob("*.ipynb"))
    assert [name[:2] for name in names] == [f"{k:02}" for k in range(len(names))]
    assert names == [path.name for path in CHAPTERS], "a name is not NN_words.ipynb"


# The rules against notebooks that break them. `good` keeps them all; each case spoils one thing.

PNG = base64.b64encode(b"not looked at").decode()
ALT = "A grey square, drawn for nothing but this test"


def text(printed):
    return new_output("stream", name="stdout", text=printed)


def picture(**data):
    return new_output("display_data", data={"text/plain": "<picture>", **data})


def exercise(name):
    source = f'@exercise("{name}")\ndef {name}():\n    """Answer."""\n    ...'
    return new_code_cell(source, outputs=[text(f"{name}: not done yet, the course's own\n")])


def good():
    """A small notebook that keeps all rules, for the file 01_good.ipynb."""
    words = "The picture drowns in noise, a little more at every step. "
    opening = (
        "# 01 · Good\n\nWhat you will build: a thing. You need nothing. 9 s on a CPU, 2 on a GPU."
    )
    details = "<details><summary>Answer</summary>\n\nBecause.\n\n</details>\n\n"
    html = f'<img alt="{ALT}" src="data:image/png;base64,{PNG}">'
    cells = [
        new_markdown_cell(opening),
        new_code_cell(metadata={"sdlearn": {"setup": True}}),
        new_markdown_cell(
            "## First\n\n" + 65 * words + "\n\nIt costs \\$5, and $a^{2} + b$ is\n\n$$c$$"
        ),
        new_code_cell("from sdlearn.exercises import exercise"),
        exercise("one"),
        *(
            new_code_cell(f"# NBVAL_CHECK_OUTPUT\nprint({k})", outputs=[text(f"{k}\n")])
            for k in range(5)
        ),
        new_code_cell("print()", outputs=[picture(**{"text/html": html, "image/png": PNG})]),
        new_markdown_cell(
            "## Second\n\nSee [above](#First), [here](01_good.ipynb).\n\n" + 65 * words
        ),
        exercise("two"),
        exercise("three"),
        new_markdown_cell("## Break it\n\n" + details),
        new_markdown_cell(
            "## Summary\n\nIt lives in `sdlearn.show`.\n\n" + 3 * details + "To read: DDPM (2020)"
        ),
    ]
    notebook = tools.refreshed(tools.tidy(new_notebook(cells=cells)), "01_good.ipynb")
    for n, (_, cell) in enumerate(hygiene.code(notebook), 1):
        cell.execution_count = n
    return notebook


def put(k, **fields):
    """Spoil cell k: set fields of it."""
    return lambda notebook: notebook.cells[k].update(fields)


def replace(k, old, new):
    def spoil(notebook):
        assert old in notebook.cells[k].source
        notebook.cells[k].source = notebook.cells[k].source.replace(old, new)

    return spoil


def printing(output):
    """Spoil the first code cell after the set-up: it gets this output."""
    return put(3, outputs=[output])


def delete(k):
    return lambda notebook: notebook.cells.pop(k)


def append(*cells):
    return lambda notebook: notebook.cells.extend(cells)


def add_metadata(**entries):
    return lambda notebook: notebook.metadata.update(nbformat.from_dict(entries))


BAD = [
    ("executed_in_order", put(3, execution_count=9)),
    ("executed_in_order", put(3, execution_count=None)),
    ("executed_in_order", put(3, source=" \n")),
    ("no_errors_stored", printing(new_output("error", ename="E", evalue="", traceback=[]))),
    ("no_errors_stored", printing(new_output("stream", name="stderr", text="Warning!"))),
    ("no_machine_paths", printing(text("saved in /home/ada/x.png"))),
    ("no_machine_paths", printing(text(f"saved in {hygiene.ROOT / 'build'}"))),
    ("no_machine_paths", printing(text(r"saved in C:\Users\ada"))),
    ("no_machine_paths", printing(text("<Net object at 0x7f00deadbeef>"))),
    ("no_machine_paths", printing(picture(**{"text/html": "<b>lib/site-packages/x.py</b>"}))),
    ("no_machine_paths", put(3, source='open("/tmp/x")')),
    ("no_machine_paths", replace(2, "The picture", "In /Users/ada the picture")),
    ("pictures_have_alt_text", printing(picture(**{"image/png": PNG}))),
    ("pictures_have_alt_text", printing(picture(**{"image/svg+xml": "<svg/>"}))),
    ("pictures_have_alt_text", printing(picture(**{"text/html": '<img src="x">'}))),
    ("pictures_have_alt_text", printing(picture(**{"text/html": '<img alt="short" src="x">'}))),
    ("pictures_have_alt_text", printing(picture(**{hygiene.WIDGET: {"model_id": "1"}}))),
    (
        "pictures_have_alt_text",
        printing(
            new_output("display_data", data={"text/plain": "VBox(children=(HTML(value='')))"})
        ),
    ),
    ("pictures_have_alt_text", replace(2, "It costs", "![a cat](01_good.ipynb) It costs")),
    ("outputs_are_small", printing(text("x" * 1_500_001))),
    ("metadata_is_clean", add_metadata(widgets={"state": {}})),
    ("metadata_is_clean", add_metadata(kernelspec={"name": "sdlearn"})),
    ("metadata_is_clean", add_metadata(language_info={"name": "python", "version": "3.11"})),
    ("metadata_is_clean", lambda n: n.cells[3].metadata.update(execution={"iopub": "now"})),
    ("generated_cells_are_current", replace(1, "Set-up", "My set-up")),
    (
        "generated_cells_are_current",
        lambda n: n.cells[3].metadata.update(sdlearn={"mirror": "sdlearn.schedule:NoiseSchedule"}),
    ),
    ("generated_cells_are_current", replace(0, "01_good", "02_other")),
    ("set_up_comes_first", lambda n: n.cells[1].metadata.pop("sdlearn")),
    ("set_up_comes_first", lambda n: n.cells.insert(1, new_code_cell("1"))),
    ("title_has_the_number", replace(0, "# 01 ·", "# 02 ·")),
    ("title_has_the_number", replace(0, "# 01 · Good", "Good")),
    ("title_has_the_number", replace(2, "## First", "# First")),
    ("badge_is_right", replace(0, "01_good.ipynb", "01_bad.ipynb")),
    ("badge_is_right", replace(0, "/sdlearn/sdlearn/", "/other/sdlearn/")),
    ("badge_is_right", put(0, source="# 01 · Good")),
    ("links_resolve", replace(11, "#First", "#Fist")),
    ("links_resolve", replace(11, "(01_good.ipynb)", "(02_missing.ipynb)")),
    ("links_resolve", replace(11, "[here]", '<img src="missing.png"> [here]')),
    ("links_resolve", replace(11, "(01_good.ipynb)", "(/etc)")),
    (
        "links_resolve",
        replace(11, "(01_good.ipynb)", f"({tools.repository()}/blob/main/missing.md)"),
    ),
    ("opening_tells_what_comes", replace(0, "What you will build", "Here is")),
    ("opening_tells_what_comes", replace(0, "You need nothing", "Nothing")),
    ("opening_tells_what_comes", replace(0, "9 s on a CPU, 2 on", "Fast on")),
    ("opening_tells_what_comes", replace(0, "on a GPU", "elsewhere")),
    ("exercises_are_there", delete(12)),
    ("exercises_are_there", replace(12, '"two"', '"one"')),
    ("exercises_are_there", replace(12, '"two"', '"unknown"')),
    ("exercises_are_there", delete(11)),
    ("exercises_are_open", put(12, outputs=[text("two: right\n")])),
    ("has_a_break_it_lab", delete(14)),
    ("has_a_break_it_lab", put(14, source="## Break it\n\nWhat went wrong?")),
    ("has_a_summary", delete(15)),
    ("has_a_summary", replace(15, "</details>", "")),
    ("has_a_summary", replace(15, "sdlearn.show", "it")),
    ("has_a_summary", replace(15, "To read: DDPM (2020)", "DDPM")),
    ("cells_are_short", append(new_code_cell("1\n" * 36))),
    ("cells_are_short", append(*[new_code_cell("1\n" * 20) for _ in range(2)])),
    ("prose_has_its_length", put(2, source="Few words. " + "$" + "a " * 2000 + "$")),
    ("prose_has_its_length", put(2, source="word " * 3800)),
    ("formulas_are_balanced", replace(2, "\\$5", "$5")),
    ("formulas_are_balanced", replace(2, "a^{2}", "a^{2")),
    ("formulas_are_balanced", replace(2, "$$c$$", "$$c")),
    ("formulas_are_balanced", replace(2, "$$c$$", r"$$\left(c)$$")),
    ("formulas_are_balanced", replace(2, "$$c$$", r"$$\begin{aligned}c$$")),
    ("nothing_left_to_do", replace(2, "It costs", "TODO It costs")),
    ("results_are_checked", replace(5, "NBVAL_CHECK_OUTPUT", "checked")),
    ("results_are_checked", put(5, outputs=[])),
    ("results_are_checked", put(5, outputs=[text("0.12345678\n")])),
    ("ruff_is_content", put(3, source="import os")),
    ("ruff_is_content", put(3, source="print( 'x' )")),
]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Writes a notebook as 01_good.ipynb and gives its path; the bank of chapter 01 is known."""
    monkeypatch.setattr(hygiene, "bank", lambda number: {"one", "two", "three"})
    path = tmp_path / "01_good.ipynb"

    def store(notebook):
        nbformat.write(notebook, path)
        return path

    return store


@pytest.mark.parametrize("rule", hygiene.RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_a_good_notebook(rule, stored):
    notebook = good()
    assert not list(rule(notebook, stored(notebook)))


@pytest.mark.parametrize("name, spoil", BAD, ids=[f"{k}-{name}" for k, (name, _) in enumerate(BAD)])
def test_rule_catches_a_bad_notebook(name, spoil, stored):
    notebook = good()
    spoil(notebook)
    wrong = list(getattr(hygiene, name)(notebook, stored(notebook)))
    assert wrong and all(len(message) > 20 for message in wrong)


def test_every_rule_is_in_use_and_has_a_bad_notebook():
    functions = [f for _, f in inspect.getmembers(hygiene, inspect.isfunction)]
    rules = {
        f.__name__
        for f in functions
        if list(inspect.signature(f).parameters) == ["notebook", "path"]
    }
    assert rules == {rule.__name__ for rule in hygiene.RULES} == {name for name, _ in BAD}
