"""What a student types into a chapter's cell: the wrong answer is told why, the right one passes.

The same in a browser: test_browser.py.
"""

import ast
import contextlib
import linecache

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from student_answers import ANSWERS, put

from sdlearn.places import chapters


def defined(cells):
    """What a chapter imports and defines before an exercise, its own functions and classes."""
    names = {}
    for cell in cells:
        tree = ast.parse(TransformerManager().transform_cell(cell))
        kinds = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
        for node in tree.body:
            if isinstance(node, kinds) and not getattr(node, "decorator_list", ()):
                with contextlib.suppress(NameError):  # a class that is built on other variables
                    exec(ast.unparse(node), names)
    return names


@pytest.mark.parametrize("chapter", ANSWERS)
def test_typed_answers(chapter, monkeypatch, capsys):
    monkeypatch.setenv("SDLEARN_PROGRESS", "off")
    notebook = nbformat.read(chapters()[chapter], as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    place = {
        name: [f'exercise("{name}")' in cell for cell in cells].index(True)
        for name in ANSWERS[chapter]
    }
    assert list(place) == sorted(place, key=place.get), "not in the notebook's order"
    names = {}
    for name, (wrong, words, right) in ANSWERS[chapter].items():
        names = defined(cells[: place[name] + 1]) | names
        for answer, said in ((wrong, f"✗ {name}"), (right, f"✓ {name}")):
            source, file = put(answer, cells[place[name]]), f"<{name}, {said[0]}>"
            linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
            capsys.readouterr()
            exec(compile(source, file, "exec"), names)
            printed = capsys.readouterr().out
            assert printed.startswith(said), printed
            assert answer is right or words in printed, printed
