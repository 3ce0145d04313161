"""`sdlearn run`: pages, failures, time limits, interrupts, and which Python runs a chapter."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sdlearn import pages
from sdlearn.kernel import CellFailed, execute
from sdlearn.places import CommandError
from sdlearn.run import Progress, run, strip_widgets

WIDGET = "application/vnd.jupyter.widget-view+json"


def write(path, *sources, heading="# 01 · A heading"):
    """A notebook of one heading and these code cells at `path`."""
    cells = [new_markdown_cell(heading), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def printed(notebook):
    """What each code cell printed."""
    return [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_execute_runs_here_and_leaves_the_file_alone(tmp_path):
    path = write(
        tmp_path / "a.ipynb",
        "import os, sys\nprint(sys.executable)",
        "",
        "print(os.getcwd())",
        "print(os.environ['HF_HUB_OFFLINE'], os.environ['X'], sys.flags.utf8_mode)",
    )
    before = path.read_bytes()
    seen = []
    notebook = execute(path, on_cell=lambda *event: seen.append(event), env={"X": "set"})
    assert path.read_bytes() == before
    texts = [text.strip() for text in printed(notebook)]
    assert texts[0] == sys.executable
    assert Path(texts[2]) == tmp_path.resolve()
    assert texts[3] == "1 set 1"
    assert [cell.get("execution_count") for cell in notebook.cells[1:]] == [1, None, 2, 3]
    assert [(k, n, seconds is None) for _, k, n, seconds in seen] == [
        (k, 3, starts) for k in (1, 2, 3) for starts in (True, False)
    ]


def test_figures_are_drawn_into_the_notebook_whatever_the_callers_backend(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    source = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    notebook = execute(write(tmp_path / "a.ipynb", source))
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[1].outputs)


def test_a_foreign_kernelspec_named_python3_is_not_used(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    bogus = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "x", "language": "x"}
    (spec / "kernel.json").write_text(json.dumps(bogus), encoding="utf-8")
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    path = write(tmp_path / "a.ipynb", "import sys\nprint(sys.executable)")
    assert printed(execute(path)) == [sys.executable + "\n"]


def test_a_failing_cell_is_told_with_its_source(tmp_path):
    path = write(tmp_path / "a.ipynb", "print('before')", "x = 0\n1 / x", "print('after')")
    with pytest.raises(CellFailed) as caught:
        execute(path)
    failed = caught.value
    assert (failed.number, failed.total, failed.source) == (2, 3, "x = 0\n1 / x")
    assert failed.error == "ZeroDivisionError: division by zero"
    assert "----> 2" in failed.details and "\x1b" not in failed.details
    assert printed(failed.notebook) == ["before\n", "", ""]


def test_a_stuck_cell_is_stopped(tmp_path):
    path = write(tmp_path / "a.ipynb", "while True: pass")
    with pytest.raises(CellFailed, match="cell 1 of 1: stopped after 1 s, the limit"):
        execute(path, timeout=1)


def test_a_dead_kernel_is_told_with_its_last_words(tmp_path):
    source = "import os\nos.write(2, b'')\nos._exit(3)"
    with pytest.raises(CellFailed, match="cell 1 of 1: the kernel died"):
        execute(write(tmp_path / "a.ipynb", source))


def test_errors_may_be_passed_over(tmp_path):
    path = write(tmp_path / "a.ipynb", "1 / 0", "while True: pass", "print('reached')")
    notebook = execute(path, timeout=2, allow_errors=True)
    assert printed(notebook)[2] == "reached\n"
    assert notebook.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert notebook.cells[2].outputs[0].ename == "KeyboardInterrupt"


def test_a_kernel_that_no_longer_listens_is_given_up(tmp_path):
    deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"
    # The kernel restores its handler before every cell, so the cell that loops takes it away.
    path = write(tmp_path / "a.ipynb", deaf + "\nwhile True: pass", "pass", "pass")
    with pytest.raises(CellFailed, match="stopped after 1 s"):
        execute(path, timeout=1, allow_errors=True)


@pytest.mark.parametrize("text", ["not json", "{}", '{"cells": 3}', "[]"])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CommandError, match="a.ipynb is not a Jupyter notebook"):
        execute(path)


def test_execute_works_inside_a_running_event_loop(tmp_path):
    inner = write(tmp_path / "inner.ipynb", "print(6 * 7)")
    source = (
        f"from sdlearn.run import execute\nprint(execute({str(inner)!r}).cells[1].outputs[0].text)"
    )
    assert printed(execute(write(tmp_path / "outer.ipynb", source)))[0].strip() == "42"


def test_run_writes_pages_index_and_timings(tmp_path, monkeypatch):
    monkeypatch.setenv("SDLEARN_DEVICE", "cpu")
    (tmp_path / "tiny.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", "utf-8")
    heading = "# 01 · A <heading>\n\n[next](02_b.ipynb#part) ![tiny](tiny.svg)"
    first = write(tmp_path / "01_a.ipynb", "print('spoken')", heading=heading)
    second = write(tmp_path / "02_b.ipynb", "1 + 1", heading="# 02 · Another")
    before = first.read_bytes()
    out, stream = tmp_path / "new" / "build", io.StringIO()
    assert run([first, second], out, profile=True, stream=stream) == 0
    page = (out / "01_a.html").read_text(encoding="utf-8")
    assert "spoken" in page and 'href="02_b.html#part"' in page
    assert 'src="tiny.svg"' not in page  # embedded
    assert "require.min.js" not in page
    index = (out / "index.html").read_text(encoding="utf-8")
    assert '<a href="01_a.html">01 · A &lt;heading&gt;</a>' in index
    assert '<a href="02_b.html">02 · Another</a>' in index and "not finished" not in index
    timings = json.loads((out / "timings.json").read_text(encoding="utf-8"))
    assert [row["chapter"] for row in timings] == ["01_a", "02_b"]
    assert all(row["seconds"] > 0 and row["device"].startswith("cpu") for row in timings)
    assert first.read_bytes() == before
    lines = stream.getvalue()
    assert "01_a  1 of 1 cells" in lines and "cell 1: print('spoken')" in lines
    assert "2 chapters in" in lines and "\r" not in lines


def test_a_failed_chapter_keeps_its_page_and_loses_its_time(tmp_path, monkeypatch):
    monkeypatch.setenv("SDLEARN_DEVICE", "cpu")
    good, out = write(tmp_path / "02_b.ipynb", "1 + 1"), tmp_path / "build"
    path = write(tmp_path / "01_a.ipynb", "print('fine')")
    assert run([path, good], out, stream=io.StringIO()) == 0
    write(tmp_path / "01_a.ipynb", "print('so far')", "raise KeyError('gone')", "3")
    (out / "02_b.html").unlink()
    stream = io.StringIO()
    assert run([path, good], out, stream=stream) == 1
    told = stream.getvalue()
    assert "01_a.ipynb, cell 2 of 3:\n    raise KeyError('gone')" in told
    assert "KeyError: 'gone'" in told and str(out / "01_a.html") in told
    assert "so far" in (out / "01_a.html").read_text(encoding="utf-8")
    assert not (out / "02_b.html").exists()  # it stops there
    assert [row["chapter"] for row in pages.read_timings(out)] == ["02_b"]
    assert "not finished" in (out / "index.html").read_text(encoding="utf-8")


def test_widgets_without_a_kernel_are_stripped():
    both = {WIDGET: {"model_id": "1"}, "text/html": "<img alt='a'>", "text/plain": "VBox()"}
    only = {WIDGET: {"model_id": "2"}}
    cell = new_code_cell("w")
    cell.outputs = [
        new_output("display_data", data=dict(both), metadata={WIDGET: {}}),
        new_output("display_data", data=dict(only)),
        new_output("stream", text="plain"),
    ]
    notebook = new_notebook(cells=[new_markdown_cell("x"), cell], metadata={"widgets": {"a": 1}})
    assert strip_widgets(notebook) is notebook
    assert "widgets" not in notebook.metadata
    assert set(cell.outputs[0].data) == {"text/html", "text/plain"}
    assert WIDGET not in cell.outputs[0].metadata
    assert cell.outputs[1].data == only  # nothing else to show


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_line_is_redrawn_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    progress = Progress("a_chapter_with_a_name_longer_than_the_line_has_room_for", stream)
    with progress:
        progress(new_code_cell("x"), 1, 3, None)
        time.sleep(0.7)
    progress.end("done")
    drawn = stream.getvalue().split("\r")
    assert any(text.startswith("a_chapter") for text in drawn)
    assert all(len(text) < 40 for text in drawn[:-1])
    assert drawn[-1].endswith("for  done\n")


def gone(pid):
    """Whether the process ends (or is only waiting to be reaped) within a few seconds."""
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a single process")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_behind(tmp_path, number, jobs):
    pids = tmp_path / "pids"
    child = "import os, pathlib, subprocess, time\np = subprocess.Popen(['sleep', '600'])\n"
    tell = f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{p.pid}} .')\n"
    path = write(tmp_path / "a.ipynb", child + tell + "time.sleep(600)")
    paths = [path, write(tmp_path / "b.ipynb", "import time", "time.sleep(600)")]
    command = [sys.executable, "-m", "sdlearn", "run", *map(str, paths)]
    command += ["--out", str(tmp_path / "out"), "--jobs", str(jobs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for _ in range(600):
            if pids.exists() and pids.read_text().endswith("."):
                break
            time.sleep(0.1)
        process.send_signal(number)
        told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130
    assert "interrupted" in told and "Traceback" not in told
    kernel, grandchild = map(int, pids.read_text().split()[:2])
    assert gone(kernel) and gone(grandchild)


def test_the_command_reports_by_its_exit_status(tmp_path):
    path = write(tmp_path / "a.ipynb", "raise ValueError('snap')")
    command = [sys.executable, "-m", "sdlearn", "run", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1
    assert "cell 1 of 1" in done.stdout and "ValueError: snap" in done.stdout
    assert "Traceback" not in done.stderr


# --- several at a time ----------------------------------------------------------------------------


def test_chapters_side_by_side(tmp_path):
    """Two run at the same time, a third after them; lines, pages, index and times as ever."""
    meet = (
        "import pathlib, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "(here / NAME).write_text('x')\n"
        "ends = time.time() + 60\n"
        "while not (here / OTHER).exists():\n"
        "    assert time.time() < ends, 'nobody came'\n"
        "    time.sleep(0.1)"
    )
    names = {"01_a": ("a", "b"), "02_b": ("b", "a"), "03_c": ("c", "c")}
    paths = [
        write(tmp_path / f"{stem}.ipynb", meet.replace("NAME", repr(n)).replace("OTHER", repr(o)))
        for stem, (n, o) in names.items()
    ]
    out, stream = tmp_path / "build", io.StringIO()
    assert run(paths, out, stream=stream, jobs=2) == 0
    lines = stream.getvalue()
    for stem in names:
        assert lines.count(f"{stem}  1 of 1 cells") == 1
        assert (out / f"{stem}.html").is_file()
    assert lines.count("chapters in") == 1 and "1 chapter in" not in lines
    assert [row["chapter"] for row in pages.read_timings(out)] == [*names]
    assert "not finished" not in (out / "index.html").read_text(encoding="utf-8")


def test_a_failure_ends_the_others(tmp_path):
    bad = write(tmp_path / "01_a.ipynb", "raise KeyError('gone')")
    slow = write(tmp_path / "02_b.ipynb", "import time\ntime.sleep(600)")
    last = write(tmp_path / "03_c.ipynb", "1 + 1")
    out, stream = tmp_path / "build", io.StringIO()
    assert run([bad, slow, last], out, stream=stream, jobs=2) == 1
    assert "KeyError: 'gone'" in stream.getvalue()
    assert not (out / "03_c.html").exists()
    for process in psutil.process_iter(["cmdline"]):
        assert str(slow) not in (process.info["cmdline"] or [])


def test_each_of_several_gets_its_share_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    source = "import os\nassert os.environ['OMP_NUM_THREADS'] == '3'"
    paths = [write(tmp_path / f"{name}.ipynb", source) for name in "ab"]
    assert run(paths, tmp_path / "out", stream=io.StringIO(), jobs=2) == 0
