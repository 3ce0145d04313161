"""`sdlearn grade`: executes students' notebooks and says of each exercise how it stands."""

import csv
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import nbformat

from .kernel import CellFailed, execute
from .places import CommandError, chapters, course_root
from .run import Progress

_EXERCISE = re.compile(r"^@exercise\(\s*[\"']([\w.]+)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Grade:
    """A graded notebook: `marks` is a list of (exercise, status, message), in chapter order."""

    name: str
    marks: list
    errors: list  # lines about cells that raised outside the exercises' checks
    problem: str  # why the notebook could not be run to its end; empty if it was

    @property
    def right(self):
        return sum(status == "right" for _, status, _ in self.marks)


def grade(paths, csv_file=None, timeout=600, stream=None):
    """Grade notebooks and print each one's marks; with `csv_file`, write a table as well.

    paths: .ipynb files, and folders to search for them.
    Returns 0, or 1 if a notebook could not be run to its end.
    """
    stream = stream or sys.stdout
    grades = []
    for path in find(paths):
        progress = Progress(str(path), stream)
        with progress:
            grades.append(grade_one(path, timeout, progress))
        stream.write(as_text(grades[-1]))
        stream.flush()
    if csv_file:
        write_csv(grades, csv_file)
        stream.write(f"{len(grades)} rows in {csv_file}\n")
    return 1 if any(one.problem for one in grades) else 0


def find(paths):
    """The notebooks that files and folders stand for; raises CommandError where there is none."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(path.rglob("*.ipynb"))
            inside = [one for one in inside if ".ipynb_checkpoints" not in one.parts]
        else:
            # A Windows shell hands "*.ipynb" on as it is.
            inside = [path] if path.is_file() else sorted(map(Path, glob(str(path))))
        if not inside:
            raise CommandError(f"{path}: no notebook there. Give .ipynb files, or folders of them")
        found += inside
    return found


def grade_one(path, timeout=600, on_cell=None):
    """Execute one notebook, errors and all, beside the course's own; returns its Grade."""
    problem, records = "", {}
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "progress.json"
        try:
            notebook = execute(
                path,
                timeout=timeout,
                on_cell=on_cell,
                allow_errors=True,
                env={"SDLEARN_PROGRESS": str(stored), "SDLEARN_STRICT": ""},
                cwd=course_root() / "notebooks",
            )
        except CellFailed as failed:
            notebook, problem = failed.notebook, str(failed)
        except CommandError as error:
            return Grade(str(path), [], [], str(error))
        try:
            records = read_records(stored)
        except (ValueError, TypeError, KeyError) as error:
            problem = problem or f"its record of results is damaged: {error}"
    marks = [_mark(name, records, notebook) for name in expected(notebook)]
    return Grade(str(path), marks, _errors(notebook), problem)


def read_records(path):
    """(status, message) of each exercise from the file that exercises.board describes."""
    if not path.is_file():  # no exercise was reached
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: (stored[name]["status"], stored[name]["message"].strip()) for name in stored}


def expected(notebook):
    """The exercises to mark: those of the course's chapter that this notebook is a copy of.

    The chapter is the one that shares most exercises with it, whatever the file is called now;
    so an exercise whose cell was deleted still counts. Further ones of its own come after.
    """
    own = exercises_in(notebook)
    originals = [
        exercises_in(nbformat.read(path, as_version=4))  # nbformat opens files as UTF-8
        for path in chapters().values()
    ]
    best = max(originals, key=lambda names: len(set(names) & set(own)), default=[])
    chapter = best if set(best) & set(own) else []
    return chapter + [name for name in own if name not in chapter]


def exercises_in(notebook):
    """The names of a notebook's exercises, in order, from its `@exercise("name")` lines."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return list(dict.fromkeys(name for source in cells for name in _EXERCISE.findall(source)))


def _mark(name, records, notebook):
    """(exercise, status, message) from the stored results."""
    if name in records:
        return name, *records[name]
    if name in exercises_in(notebook):
        return name, "untouched", "its cell stopped before it was checked"
    return name, "untouched", "its cell is not in the notebook"


def _errors(notebook):
    """A line for each cell that raised."""
    return [
        f"cell {cell.execution_count}: {output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def as_text(one):
    """A Grade as lines of text: the total, the exercises, what went wrong beside them."""
    lines = [f"{one.name}  {one.right} of {len(one.marks)} right"]
    width = max((len(name) for name, _, _ in one.marks), default=0)
    for name, status, message in one.marks:
        first, *more = message.splitlines() or [""]
        lines.append(f"  {status:10} {name:{width}}  {first}".rstrip())
        lines += [f"  {'':10} {'':{width}}  {line}" for line in more]
    lines += [f"  error      {line}" for line in one.errors]
    if one.problem:
        lines.append(f"  NOT RUN TO ITS END: {one.problem}")
    return "\n".join(lines) + "\n"


def write_csv(grades, path):
    """Write a row for each notebook: right, total, the status of each exercise, the problem."""
    names = list(dict.fromkeys(name for one in grades for name, _, _ in one.marks))
    # With a byte order mark, or Excel misreads names that are not ASCII.
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["notebook", "right", "exercises", *names, "problem"])
        for one in grades:
            status = {name: status for name, status, _ in one.marks}
            marks = [status.get(name, "") for name in names]
            rows.writerow([one.name, one.right, len(one.marks), *marks, one.problem])
