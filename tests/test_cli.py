"""The `sdlearn` command itself, `sdlearn lab` and `sdlearn grade`."""

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from sdlearn import __version__, cli, grade, lab
from sdlearn.places import CommandError


def call(*arguments, **options):
    """Run `python -m sdlearn` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "sdlearn", *arguments],
        capture_output=True, text=True, encoding="utf-8", timeout=300, **options,
    )  # fmt: skip


def test_no_command_and_help_list_the_commands():
    bare, asked = call(), call("--help")
    assert bare.returncode == asked.returncode == 0 and bare.stdout == asked.stdout
    listed = re.findall(r"^    (\w+) ", bare.stdout, re.MULTILINE)
    assert listed[:4] == ["doctor", "lab", "run", "grade"]


def test_every_listed_command_has_help(capsys):
    for command in ("doctor", "lab", "run", "grade"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert f"usage: sdlearn {command}" in capsys.readouterr().out


def test_version_and_wrong_commands():
    assert call("--version").stdout.strip() == f"sdlearn {__version__}"
    wrong = call("frobnicate")
    assert wrong.returncode == 2
    assert "frobnicate" in wrong.stderr and "doctor" in wrong.stderr
    assert call("run", "--timeout", "soon").returncode == 2
    assert call("run", "--", "x").returncode == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom sdlearn.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'nbformat', 'nbclient', 'IPython', 'diffusers', 'datasets'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("heavy: []\n"), done.stderr


def test_an_unknown_chapter_is_told_what_there_is(capsys):
    done = call("run", "77")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no chapter and no notebook '77'. The chapters are:" in done.stderr
    assert cli.main(["lab", "78"]) == 2
    assert "'78'. The chapters are:" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_remedy(monkeypatch, capsys):
    def fails(options):
        raise ModuleNotFoundError("No module named 'nbclient'", name="nbclient")

    monkeypatch.setattr(cli, "_run", fails)
    assert cli.main(["run"]) == 1
    told = capsys.readouterr().err
    assert "nbclient" in told and "-m pip install" in told


def test_an_interrupt_is_status_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_doctor", interrupted)
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


# --- sdlearn lab ---


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A course folder with a space in its path and one chapter."""
    root = tmp_path / "my course"
    (root / "notebooks").mkdir(parents=True)
    nbformat.write(new_notebook(), root / "notebooks" / "00_start_here.ipynb")
    for module in ("sdlearn.lab", "sdlearn.places"):
        monkeypatch.setattr(f"{module}.course_root", lambda: root)
    return root


def test_lab_opens_the_chapter_in_the_clone(clone):
    arguments = lab.command(browser=False, extra=["--port", "9000"])
    assert f"--ServerApp.root_dir={clone}" in arguments
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in arguments
    assert arguments[-3:] == ["--no-browser", "--port", "9000"]
    (clone / "my notes é.ipynb").touch()
    page = lab.command(clone / "my notes é.ipynb")[1]
    assert page == "--LabApp.default_url=/lab/tree/my%20notes%20%C3%A9.ipynb"


def test_lab_refuses_what_it_cannot_open(clone, tmp_path, monkeypatch):
    (tmp_path / "outside.ipynb").touch()
    with pytest.raises(CommandError, match="outside the course"):
        lab.command(tmp_path / "outside.ipynb")
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    with pytest.raises(CommandError, match="JupyterLab is not installed.*\n.*pip install"):
        lab.lab()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_labs_kernel_is_this_python_whatever_the_user_has_installed(tmp_path):
    """A real JupyterLab, where the user has a bogus kernelspec called python3."""
    spec = tmp_path / "data" / "kernels" / "python3"
    spec.mkdir(parents=True)
    bogus = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "x", "language": "x"}
    (spec / "kernel.json").write_text(json.dumps(bogus), encoding="utf-8")
    course = tmp_path / "course"
    (course / "sdlearn").mkdir(parents=True)
    (course / "sdlearn" / "__init__.py").touch()
    (course / "notebooks").mkdir()
    nbformat.write(new_notebook(), course / "notebooks" / "00_start_here.ipynb")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    start = "import sdlearn.lab as lab, sdlearn.places as places, pathlib\n"
    start += f"lab.course_root = places.course_root = lambda: pathlib.Path({str(course)!r})\n"
    start += "from sdlearn.cli import main\n"
    start += "main(['lab', '--no-browser', '--', '--allow-root', '--IdentityProvider.token=',"
    start += f" '--ip=127.0.0.1', '--port={port}', '--ServerApp.port_retries=0'])"
    environment = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_PATH": str(tmp_path / "data"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", start], env=environment, stdout=file, stderr=file
        )
    try:
        specs = json.loads(fetch(f"{address}/api/kernelspecs", process, log))
        argv = specs["kernelspecs"]["python3"]["spec"]["argv"]
        assert argv[0] == sys.executable and "ipykernel_launcher" in argv
        with urllib.request.urlopen(f"{address}/", timeout=60) as page:
            assert page.url == f"{address}/lab/tree/notebooks/00_start_here.ipynb"
    finally:
        process.terminate()
        process.wait(timeout=60)


def fetch(address, process, log):
    """What the server says at `address` once it is up."""
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.1)
    raise AssertionError("JupyterLab did not come up: " + log.read_text(errors="replace"))


# --- sdlearn grade ---

# A stand-in for the exercise engine: it writes the same record to the same place.
ENGINE = """
import json, os, pathlib
def exercise(name):
    def check(answer):
        path = pathlib.Path(os.environ["SDLEARN_PROGRESS"])
        records = json.loads(path.read_text("utf-8")) if path.exists() else {}
        status, message = answer()
        records[name] = {"status": status, "message": message, "attempts": 1}
        path.write_text(json.dumps(records), "utf-8")
    return check
"""


def answer(name, status, message=""):
    """The cell of one exercise, with the verdict that the stand-in is to give."""
    return f"@exercise({name!r})\ndef f():\n    return {status!r}, {message!r}"


def write(path, *sources):
    path.parent.mkdir(exist_ok=True)
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def students(tmp_path, monkeypatch):
    """A course of two chapters, and the notebooks that three students handed in."""
    names = {"01": ["forward.step", "forward.jump", "forward.snr"], "02": ["reverse.mean"]}
    course = {
        number: write(tmp_path / "course" / f"{number}_x.ipynb", *[answer(n, "right") for n in all])
        for number, all in names.items()
    }
    monkeypatch.setattr(grade, "chapters", lambda: course)
    step, jump, snr = names["01"]
    folder = tmp_path / "handed in"
    folder.mkdir()
    write(
        folder / "alice" / "work.ipynb",
        ENGINE,
        answer(step, "right"),
        answer(jump, "wrong", "the noise is scaled by 1-ᾱ\nit should be its root"),
        "1 / 0",
        answer(snr, "right"),
    )
    write(folder / "bob" / "work.ipynb", ENGINE, answer(step, "untouched", "not done yet"))
    write(folder / "bob" / ".ipynb_checkpoints" / "work.ipynb", "while True: pass")
    (folder / "carol.ipynb").write_text("my dog ate it", encoding="utf-8")
    return folder


def test_grade_marks_every_exercise(students, tmp_path):
    table, stream = tmp_path / "marks.csv", io.StringIO()
    assert grade.grade([students], table, stream=stream) == 1  # carol's could not be run
    told = stream.getvalue()
    lines = [line.strip() for line in told.splitlines()]
    assert f"{students / 'alice' / 'work.ipynb'}  2 of 3 right" in lines
    assert "right      forward.step" in lines
    assert "wrong      forward.jump  the noise is scaled by 1-ᾱ" in lines
    assert "it should be its root" in lines
    assert "error      cell 4: ZeroDivisionError: division by zero" in lines
    assert f"{students / 'bob' / 'work.ipynb'}  0 of 3 right" in lines
    assert "untouched  forward.step  not done yet" in lines
    assert "untouched  forward.snr   its cell is not in the notebook" in lines
    assert "NOT RUN TO ITS END" in told and "carol.ipynb is not a Jupyter notebook" in told
    assert "checkpoints" not in told
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["right"] for row in rows] == ["2", "0", "0"]
    assert [row["exercises"] for row in rows] == ["3", "3", "0"]
    assert rows[0]["forward.jump"] == "wrong" and rows[1]["forward.jump"] == "untouched"
    assert [bool(row["problem"]) for row in rows] == [False, False, True]


def test_grade_is_content_when_all_could_be_run(students, monkeypatch):
    monkeypatch.setenv("SDLEARN_STRICT", "1")  # an instructor's own setting must not leak in
    monkeypatch.setenv("SDLEARN_PROGRESS", "off")
    path = students / "alice" / "work.ipynb"
    before = path.read_bytes()
    assert grade.grade([path], stream=io.StringIO()) == 0
    assert path.read_bytes() == before


def test_a_notebook_whose_kernel_dies_keeps_its_marks(students):
    path = write(students / "dan.ipynb", ENGINE, answer("forward.step", "right"), "os._exit(1)")
    one = grade.grade_one(path)
    assert one.right == 1 and "cell 3 of 3: the kernel died" in one.problem


BANK = """
import torch
from sdlearn.exercises.bank import Case, Exercise

def double(x):
    return 2 * x

def cases():
    return [Case((torch.arange(3.0),)), Case((torch.ones(2, 2),))]

EXERCISES = [
    Exercise(name, reference=double, cases=cases, hints=["twice"], mistakes={})
    for name in ("grading.good", "grading.bad", "grading.open")
]
"""


def test_grade_reads_the_record_of_the_exercise_engine(tmp_path, monkeypatch):
    """The engine itself, on a bank of this test: right, wrong, untouched, never reached."""
    (tmp_path / "ch99.py").write_text(BANK, encoding="utf-8")
    monkeypatch.setattr(grade, "chapters", dict)
    head = "import sdlearn.exercises\nfrom sdlearn.exercises import exercise\n"
    path = write(
        tmp_path / "work.ipynb",
        head + f"sdlearn.exercises.__path__.append({str(tmp_path)!r})",
        '@exercise("grading.good")\ndef double(x):\n    return x + x',
        '@exercise("grading.bad")\ndef double(x):\n    return x + 1',
        '@exercise("grading.open")\ndef double(x):\n    ...',
        'if False:\n    pass\n@exercise("grading.unknown")\ndef double(x):\n    ...',
    )
    one = grade.grade_one(path)
    assert one.problem == "", one.errors
    assert [(name, status) for name, status, _ in one.marks] == [
        ("grading.good", "right"),
        ("grading.bad", "wrong"),
        ("grading.open", "untouched"),
        ("grading.unknown", "untouched"),
    ]
    assert one.marks[1][2] and one.right == 1
    assert one.marks[3][2] == "its cell stopped before it was checked"
    assert len(one.errors) == 1 and "grading.unknown" in one.errors[0]


def test_a_damaged_record_is_told(students):
    spoil = "pathlib.Path(os.environ['SDLEARN_PROGRESS']).write_text('{')"
    one = grade.grade_one(write(students / "eve.ipynb", ENGINE, spoil))
    assert one.right == 0 and "record of results is damaged" in one.problem


def test_grade_names_what_it_cannot_find(tmp_path):
    write(tmp_path / "b.ipynb"), write(tmp_path / "a.ipynb")
    assert [path.name for path in grade.find([tmp_path / "*.ipynb"])] == ["a.ipynb", "b.ipynb"]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none.ipynb", tmp_path / "c*.ipynb"):
        with pytest.raises(CommandError, match="no notebook there"):
            grade.find([path])


def test_exercises_are_found_in_the_order_of_the_notebook():
    source = "# @exercise('no.comment')\n@exercise('b.two')\ndef f(): ...\n@exercise( \"a.one\" )\n"
    cells = [new_code_cell(source), new_code_cell("@exercise('b.two')\ndef f(): ...")]
    assert grade.exercises_in(new_notebook(cells=cells)) == ["b.two", "a.one"]
