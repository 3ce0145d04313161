"""`sdlearn run`: executes chapters headless, with a progress line, and writes them as HTML."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock

from .kernel import CellFailed, execute
from .pages import strip_widgets, write_page, write_timing
from .places import course_root, select
from .side_by_side import run_side_by_side

__all__ = ["CellFailed", "Progress", "execute", "run", "strip_widgets"]


def run(names=(), out=None, timeout=600, profile=False, stream=None, jobs=1):
    """Execute chapters; their pages, an index and timings.json go to `out`.

    names: chapter numbers, names or paths, as places.select takes them; none for all chapters.
    out: a folder, made if need be; `build` in the clone unless given.
    timeout: seconds for each cell. profile: list each chapter's slowest cells.
    jobs: how many at a time, each with its share of the cores; None: see `jobs_here`.
    Returns 0, or 1 at the first cell that fails. The stored notebooks stay as they are.
    """
    stream = stream or sys.stdout
    paths = select(names)
    out = Path(out or course_root() / "build").resolve()
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    jobs = min(jobs or jobs_here(), len(paths))
    if jobs > 1:
        options = ["--out", str(out), "--timeout", str(timeout), *["--profile"] * profile]
        if not run_side_by_side(paths, options, stream, jobs):
            return 1
    else:
        for path in paths:
            if not _run_chapter(path, out, timeout, profile, stream):
                return 1
    total = time.perf_counter() - began
    chapters = "1 chapter" if len(paths) == 1 else f"{len(paths)} chapters"
    stream.write(f"{chapters} in {total:.0f} s. Open {out / 'index.html'}\n")
    return 0


def jobs_here():
    """How many chapters at a time pay on this machine.

    Two on a CPU of two cores or more: the networks are small, so two threads in one chapter wait
    for each other most of the time. One where a GPU would have to be shared.
    """
    from .runtime import device

    return 1 if device().type != "cpu" or (os.cpu_count() or 1) < 2 else 2


def _run_chapter(path, out, timeout, profile, stream):
    """Execute one notebook and write its page; False if it stopped, and its page with it."""
    began = time.perf_counter()
    progress = Progress(path.stem, stream)
    try:
        with progress:
            notebook = execute(path, timeout=timeout, on_cell=progress)
    except CellFailed as failed:
        with FileLock(out / ".lock"):  # other chapters may end at the same time
            write_timing(out, path.stem)
            page = write_page(failed.notebook, path, out)
        progress.end(f"stopped in cell {failed.number} of {failed.total}")
        stream.write(_report(failed, path, page))
        return False
    seconds = time.perf_counter() - began
    with FileLock(out / ".lock"):
        write_timing(out, path.stem, seconds, _device())
        write_page(notebook, path, out)
    progress.end(f"{progress.total} of {progress.total} cells  {seconds:.1f} s")
    if profile:
        stream.write(progress.slowest())
    return True


def _device():
    """The device that the chapters choose on this machine, in words."""
    from .runtime import device, device_name  # imports torch: seconds, so only when it is needed

    return device_name(device())


def _report(failed, path, page):
    """What to know about a cell that failed: which, its source, the error, the page so far."""
    lines = ["", f"{path.name}, cell {failed.number} of {failed.total}:"]
    lines += [f"    {line}" for line in failed.source.splitlines()]
    lines += ["", *failed.details.splitlines()] if failed.details else []
    if not failed.details.endswith(failed.error):
        lines += ["", failed.error]
    return "\n".join([*lines, "", f"The chapter as far as it got: {page}", ""])


class Progress:
    """A line that says which cell of a notebook runs, and for how long: execute's `on_cell`.

    On a terminal the line is redrawn twice a second; elsewhere a line is added every 15 s.
    """

    def __init__(self, name, stream):
        self.name, self.stream = name, stream
        self.k = self.total = 0
        self.cells = []  # (seconds, number, source) of those that ended
        self._live = stream.isatty()
        self._ended = threading.Event()
        self._width = 0

    def __call__(self, cell, k, n, seconds):
        self.k, self.total = k, n
        if seconds is not None:
            self.cells.append((seconds, k, cell.source))

    def __enter__(self):
        self._began = time.perf_counter()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        self._thread.join()
        if self._live:
            self._redraw("")

    def _tell(self):
        while not self._ended.wait(0.5 if self._live else 15):
            where = f"cell {self.k} of {self.total}" if self.k else "starting"
            text = f"{self.name}  {where}  {time.perf_counter() - self._began:.0f} s"
            if self._live:
                self._redraw(text)
            else:
                self.end(text)

    def _redraw(self, text):
        text = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line cannot be erased
        self.stream.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
        self.stream.flush()
        self._width = len(text)

    def end(self, text):
        """Write a line that stays: the notebook's name and `text`."""
        self.stream.write(f"{self.name}  {text}\n")
        self.stream.flush()

    def slowest(self, count=5):
        """The cells that took longest, a line each, the slowest first."""
        return "".join(
            f"  {seconds:7.2f} s  cell {number}: {source.strip().splitlines()[0][:60]}\n"
            for seconds, number, source in sorted(self.cells, reverse=True)[:count]
        )
