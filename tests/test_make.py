"""The commands of the Makefile and tools/ready.sh, with a stand-in for Python that records.

The stand-in answers questions about itself through the real Python, and writes down what it is
told to install or to run, so that nothing is installed here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["sh", "echo", "env", "dirname", "cat", "rm", "cksum", "mkdir", "cp", "find", "sed"]
STANDIN = """\
#!/bin/sh
# Says it is Python VERSION, whose line of code PATCH makes it lack something.
case "$1" in
    -) exec REAL -c 'import sys; sys.version_info = VERSION; PATCH; exec(sys.stdin.read())' ;;
    -c) case "$2" in *torch*) exit 1 ;; esac
        exec REAL -c "import sys; sys.version_info = VERSION; $2" ;;
esac
if [ "$2" = venv ]; then
    mkdir -p .venv/bin && rm -f .venv/bin/python && cp "$0" .venv/bin/python && exit
fi
[ "$2 $3" = "pip --version" ] && exit
echo "$*" >> log
case "$*" in *"${FAIL:-nothing fails}"*) exit 1 ;; esac
case "$*" in *"${DIE:-nothing dies}"*) kill -9 $PPID ;; esac
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="make and sh are not for Windows")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


class Clone:
    """A bare clone in a folder with a space in its name, on a machine with chosen Pythons."""

    def __init__(self, folder):
        self.folder, self.bin = folder / "the clone", folder / "bin"
        (self.folder / "tools").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/ready.sh"):
            shutil.copy(ROOT / name, self.folder / name)
        self.bin.mkdir()
        for tool in [*TOOLS, "make"]:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)

    def python(self, name="python3", version=(3, 12, 1), patch="pass"):
        text = STANDIN.replace("REAL", shlex.quote(sys.executable)).replace("PATCH", patch)
        path = self.bin / name
        path.write_text(text.replace("VERSION", repr(version)), encoding="utf-8")
        path.chmod(0o755)
        return self

    def call(self, *command, **environment):
        """Run a command in the clone; returns its status and all it printed."""
        done = subprocess.run(
            [shutil.which(command[0]), *command[1:]],
            cwd=self.folder,
            env={"PATH": str(self.bin), "LC_ALL": "C", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def ready(self, extra="lab", **environment):
        return self.call("sh", "tools/ready.sh", extra, **environment)

    def log(self):
        """What Python was told since the last look."""
        path = self.folder / "log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_no_python_at_all(clone):
    status, text = clone.ready()
    assert status == 1
    assert "No Python" in text and "none at all" in text and "PYTHON=/path" in text


def test_unfit_pythons_are_told_with_their_reasons(clone):
    clone.python("python3", (3, 9, 2)).python("python", (3, 14, 0))
    clone.python("python3.12", patch='sys.modules["ensurepip"] = None')
    (clone.bin / "python3.11").write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    (clone.bin / "python3.11").chmod(0o755)
    status, text = clone.ready()
    assert status == 1
    assert "python3 is Python 3.9, and the course needs 3.10 to 3.13" in text
    assert "python is Python 3.14" in text
    assert "sudo apt install python3.12-venv" in text
    assert "python3.11 does not start" in text
    assert not (clone.folder / ".venv").exists()


def test_the_first_python_that_suits_is_taken(clone):
    clone.python("python3", (3, 9, 2)).python("python3.13", (3, 13, 0)).python("python3.10")
    status, text = clone.ready()
    assert status == 0, text
    assert "Making .venv with python3.13 (Python 3.13)" in text


def test_a_chosen_python_is_taken_or_its_trouble_told(clone):
    clone.python("python3").python("mine", (3, 11, 0)).python("old", (3, 8, 0))
    assert clone.ready()[0] == 0
    status, text = clone.ready(PYTHON="old")
    assert status == 1 and "PYTHON=old: is Python 3.8" in text
    status, text = clone.ready(PYTHON="nowhere")
    assert status == 1 and "PYTHON=nowhere: not found" in text
    status, text = clone.ready(PYTHON="mine")
    assert status == 0 and "Making .venv with mine (Python 3.11)" in text
    assert clone.log()[-1].endswith("-e .[lab]")
    assert clone.ready(PYTHON="mine") == (0, "")
    assert clone.ready() == (0, "")  # the environment stays until another Python is asked for


def test_it_installs_once_with_the_tested_versions(clone):
    clone.python()
    assert clone.ready()[0] == 0
    assert [shlex.split(line)[2:] for line in clone.log()] == [
        ["install", "--disable-pip-version-check", "-c", "constraints.txt", "pip>=22"],
        ["install", "--disable-pip-version-check", "-c", "constraints.txt", "-e", ".[lab]"],
    ]
    assert clone.ready() == (0, "")
    assert clone.log() == []


def test_the_test_tools_include_the_lab_but_not_the_other_way(clone):
    clone.python()
    clone.ready("lab")
    clone.log()
    clone.ready("test")
    assert clone.log()[-1].endswith("-e .[test]")
    assert clone.ready("lab") == clone.ready("test") == (0, "")
    assert clone.log() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_required_installs_again(clone, name):
    clone.python()
    clone.ready()
    clone.log()
    with (clone.folder / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert clone.ready()[0] == 0
    assert clone.log()
    os.utime(clone.folder / name)  # a checkout may touch a file without changing it
    assert clone.ready() == (0, "")


def test_a_clone_that_moved_is_installed_again(clone):
    clone.python()
    clone.ready()
    clone.log()
    clone.folder = clone.folder.rename(clone.folder.with_name("moved"))
    assert clone.ready()[0] == 0
    assert clone.log()


@pytest.mark.parametrize("trouble", ["FAIL", "DIE"])
def test_an_installation_that_did_not_finish_is_tried_again(clone, trouble):
    clone.python()
    status, text = clone.ready(**{trouble: "-e .[lab]"})
    assert status != 0
    assert trouble == "DIE" or "did not finish" in text
    assert not list((clone.folder / ".venv").glob("ready-*"))
    clone.log()
    assert clone.ready()[0] == 0
    assert clone.log()


def test_a_failed_change_takes_the_old_mark_away(clone):
    clone.python()
    clone.ready("lab")
    assert clone.ready("test", FAIL="-e .[test]")[0] == 1
    clone.log()
    clone.ready("lab")
    assert clone.log(), "half of another installation counted as a whole one"


def test_a_broken_environment_is_made_again(clone):
    clone.python()
    clone.ready()
    (clone.folder / ".venv/bin/python").unlink()
    (clone.folder / ".venv/bin/python").symlink_to("no-longer-there")
    status, text = clone.ready()
    assert status == 0 and "Making .venv" in text


def test_the_newest_releases_on_demand(clone):
    clone.python()
    assert clone.ready(CONSTRAINTS="")[0] == 0
    last = clone.log()[-1]
    assert "--upgrade --upgrade-strategy eager -e .[lab]" in last and "constraints" not in last
    assert clone.ready(CONSTRAINTS="") == (0, "")
    clone.ready()
    assert "-c constraints.txt" in clone.log()[-1]
    status, text = clone.ready(CONSTRAINTS="typo.txt")
    assert status == 1 and "CONSTRAINTS=typo.txt: no such file" in text


def test_torch_from_another_index_comes_first(clone):
    clone.python()
    assert clone.ready(TORCH_INDEX="https://example.org/cpu")[0] == 0
    _, torch, course = clone.log()
    assert torch.endswith("-c constraints.txt --no-deps --index-url https://example.org/cpu torch")
    assert course.endswith("-c constraints.txt -e .[lab]")
    assert clone.ready() == (0, "")


@needs_make
def test_make_alone_lists_every_command(clone):
    status, text = clone.call("make")
    phony = re.search(r"\.PHONY: (.+)", (ROOT / "Makefile").read_text(encoding="utf-8"))[1]
    assert status == 0
    assert set(re.findall(r"^make ([\w-]+)", text, re.MULTILINE)) == set(phony.split()) - {"help"}
    assert not (clone.folder / ".venv").exists()


@needs_make
@pytest.mark.parametrize(
    "command, does",
    [
        ("make lab", "-m sdlearn lab"),
        ("make lab ARGS=02", "-m sdlearn lab 02"),
        ("make doctor", "-m sdlearn doctor"),
        ("make run", "-m sdlearn run"),
        ("make run CHAPTERS='02 03'", "-m sdlearn run 02 03"),
        ("make dev", "-m pre_commit install"),
    ],
)
def test_what_a_command_runs(clone, command, does):
    clone.python()
    status, text = clone.call(*shlex.split(command))
    assert status == 0, text
    assert clone.log()[-1].strip() == does


@needs_make
def test_make_passes_its_variables_on(clone):
    clone.python("python3").python("mine", (3, 11, 0))
    status, text = clone.call("make", "run", "CONSTRAINTS=", "PYTHON=mine", "TORCH_INDEX=there")
    assert status == 0 and "with mine" in text
    log = clone.log()
    assert "--index-url there" in log[1] and "constraints" not in log[2]


@needs_make
@pytest.mark.parametrize("fails", ["-m sdlearn run", "-e .[lab]"])
def test_a_command_that_fails_fails(clone, fails):
    clone.python()
    assert clone.call("make", "run", FAIL=fails)[0] == 2
    assert fails in clone.log()[-1]  # and nothing ran after it


GROUPS = [
    ("style", "-m ruff check ."),
    ("style", "-m ruff format --check ."),
    ("cells that mirror the package", "tools/notebooks.py check"),
    ("tests", "-m pytest -n 2 --dist loadfile tests"),
    ("chapters", "-m pytest -n 2 --dist loadfile --nbval-lax"),
]


@needs_make
def test_make_test_runs_its_groups_in_order(clone):
    clone.python()
    status, text = clone.call("make", "test")
    assert status == 0, text
    fetched, *ran = [line for line in clone.log() if " pip install " not in line]
    assert fetched == "tools/fetch_original.py"
    assert len(ran) == len(GROUPS)
    assert all(line.startswith(start) for line, (_, start) in zip(ran, GROUPS))


@needs_make
@pytest.mark.parametrize("n", range(len(GROUPS)))
def test_make_test_stops_at_the_first_group_that_fails(clone, n):
    clone.python()
    group, fails = GROUPS[n]
    status, text = clone.call("make", "test", FAIL=fails)
    assert status == 2
    assert f"make test: stopped at the {group}\n" in text
    assert clone.log()[-1].startswith(fails)


@needs_make
def test_make_test_fetches_the_published_code_once_and_goes_on_without_it(clone):
    clone.python()
    status, text = clone.call("make", "test", FAIL="fetch_original")
    assert status == 0 and "test_original.py will be skipped" in text
    (clone.folder / "build" / "original" / "ldm").mkdir(parents=True)
    clone.log()
    assert clone.call("make", "test")[0] == 0
    assert "tools/fetch_original.py" not in clone.log()


@needs_make
def test_make_gpu_says_when_there_is_none(clone):
    clone.python()
    status, text = clone.call("make", "gpu")
    assert status == 2 and "torch finds no CUDA device here" in text
    assert not any("pytest" in line for line in clone.log())


@needs_make
def test_clean_leaves_the_environment_and_the_students_record(clone):
    here = clone.folder
    gone = ["build/a.html", ".cache/x", "sdlearn/__pycache__/x.pyc", "sdlearn.egg-info/PKG-INFO"]
    kept = [".venv/lib/__pycache__/x.pyc", ".sdlearn/progress.json", "notebooks/a.ipynb"]
    for name in gone + kept:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    assert clone.call("make", "clean")[0] == 0
    assert not any((here / name).exists() for name in gone)
    assert all((here / name).exists() for name in kept)
    assert clone.call("make", "clean-all")[0] == 0
    assert not (here / ".venv").exists() and (here / ".sdlearn/progress.json").exists()
