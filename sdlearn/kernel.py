"""Running a notebook from top to bottom, headless, on the very Python that calls."""

import asyncio
import logging
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync

from .places import CommandError, course_root

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TIMEOUTS_IN_A_ROW = 2


class CoursePython(KernelSpecManager):
    """Finds kernels, where "python3" is always this interpreter.

    A kernelspec of that name in the user's or the system's Jupyter folders may start a Python
    that has neither torch nor the course; it is passed over.
    """

    def get_kernel_spec(self, kernel_name):
        if kernel_name == "python3":
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        return super().get_kernel_spec(kernel_name)

    def find_kernel_specs(self):
        return {**super().find_kernel_specs(), "python3": RESOURCES}


class CellFailed(RuntimeError):
    """A notebook stopped before its end.

    Attributes: notebook (as far as it got), number and total (code cell k of n; number 0 means
    before the first), source (the cell's), error (what happened, in one line), details
    (the traceback without colours, may be empty).
    """

    def __init__(self, notebook, number, total, source, error, details=""):
        self.notebook, self.number, self.total = notebook, number, total
        self.source, self.error, self.details = source, error, details
        where = f"cell {number} of {total}" if number else "before the first cell"
        super().__init__(f"{where}: {error}")


def execute(path, timeout=600, on_cell=None, allow_errors=False, env=None, cwd=None):
    """Run the notebook at `path` in a fresh kernel and return it with its outputs.

    path: an .ipynb file (left as it is) or a notebook node (copied).
    timeout: seconds for each cell; None for no limit.
    on_cell: called as on_cell(cell, k, n, seconds) when code cell k of n starts, with seconds
        None, and again when it ends, with the seconds it took.
    allow_errors: go on after a cell that raises; one that exceeds the timeout is interrupted.
    env: environment variables for the kernel, over those of this process.
    cwd: the kernel's working folder; the notebook's own folder unless given, and the course's
        `notebooks` for a notebook node.

    Raises CellFailed; CommandError if `path` is no notebook. Whatever happens, an interrupt
    included, the kernel and the processes it started are gone when this returns.
    """
    notebook, cwd = _load(path, cwd)
    cells = [
        (index, cell)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=CoursePython()),
        timeout=timeout,
        startup_timeout=120,
        allow_errors=allow_errors,
        record_timing=False,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(cwd)}},
        log=_quiet(),
    )
    if allow_errors:
        client.interrupt_on_timeout = True
        client.error_on_timeout = {"ename": "TimeoutError", "evalue": "", "traceback": []}
    timeouts = 0
    with _kernel(client, notebook, len(cells), env, cwd) as messages:
        for k, (index, cell) in enumerate(cells, 1):
            if on_cell:
                on_cell(cell, k, len(cells), None)
            began = time.perf_counter()
            try:
                client.execute_cell(cell, index, execution_count=k)
            except Exception as error:
                raise _failure(error, notebook, k, len(cells), cell, timeout, messages) from None
            seconds = time.perf_counter() - began
            if on_cell:
                on_cell(cell, k, len(cells), seconds)
            timeouts = timeouts + 1 if timeout and seconds >= timeout else 0
            if timeouts == _TIMEOUTS_IN_A_ROW:  # the kernel no longer listens
                raise _failure(TimeoutError(), notebook, k, len(cells), cell, timeout, messages)
    return notebook


def _load(path, cwd):
    """The notebook node to run (never the caller's own) and the folder to run it in."""
    if not isinstance(path, (str, Path)):
        return nbformat.from_dict(path), Path(cwd or course_root() / "notebooks")
    path = Path(path).resolve()
    try:
        # The text is read here, so that a Windows code page never comes into it.
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, TypeError, AttributeError, KeyError, nbformat.ValidationError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise CommandError(f"{path} is not a Jupyter notebook: {reason[:200]}") from None
    return notebook, Path(cwd or path.parent)


def _environment(env):
    """The kernel's environment: offline, UTF-8, figures in the notebook, progress not stored."""
    kernel = {"HF_HUB_OFFLINE": "1", "SDLEARN_PROGRESS": "off", **os.environ}
    kernel.pop("MPLBACKEND", None)  # the kernel's own default draws into the notebook
    kernel["PYTHONUTF8"] = "1"
    return {**kernel, **(env or {})}


@contextmanager
def _kernel(client, notebook, total, env, cwd):
    """A running kernel for `client`; yields the file that holds what it says to the terminal."""
    with tempfile.TemporaryFile() as messages, warnings.catch_warnings():
        # On Windows pyzmq says that it works around asyncio's loop there.
        warnings.filterwarnings("ignore", "Proactor event loop", RuntimeWarning)
        try:
            try:
                client.start_new_kernel(
                    env=_environment(env), cwd=str(cwd), stdout=messages, stderr=messages
                )
                client.start_new_kernel_client()
            except Exception as error:
                text = f"no kernel could be started with {sys.executable}: {error}"
                raise CellFailed(notebook, 0, total, "", text, _said(messages)) from None
            yield messages
        finally:
            _stop(client)


def _stop(client):
    """Kill the kernel with the processes it started; a second Ctrl-C does not get in between."""
    before = _ignore_interrupts()
    try:
        run_sync(_shut_down)(client)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


async def _shut_down(client):
    """The kernel and its process group killed, its channels closed, waiting tasks cancelled."""
    if client.km.has_kernel:
        await client.km.shutdown_kernel(now=True)
    if client.kc is not None:
        client.kc.stop_channels()
    waiting = asyncio.all_tasks() - {asyncio.current_task()}  # an interrupt leaves some behind
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _ignore_interrupts():
    """Ignore SIGINT and SIGTERM from here on; returns the handlers to put back."""
    try:
        return {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
    except ValueError:  # not the main thread: interrupts do not come here anyway
        return {}


def _failure(error, notebook, number, total, cell, timeout, messages):
    """The CellFailed for what nbclient raised."""
    details = ""
    if isinstance(error, CellExecutionError):
        text = f"{error.ename}: {error.evalue}"
        lines = [line for output in cell.outputs for line in output.get("traceback", [])]
        details = _COLOUR.sub("", "\n".join(lines))
    elif isinstance(error, (CellTimeoutError, TimeoutError)):
        text = f"stopped after {timeout:g} s, the limit for one cell (--timeout sets it)"
    elif isinstance(error, DeadKernelError):
        text = "the kernel died in this cell; most often the memory was not enough"
        details = _said(messages)
    else:
        text = f"{type(error).__name__}: {error}"
    return CellFailed(notebook, number, total, cell.source, text, details)


def _said(messages, lines=15):
    """The last lines that the kernel wrote to its terminal."""
    messages.seek(0)
    text = messages.read().decode("utf-8", errors="replace")
    said = [line for line in text.splitlines() if "IPKernelApp" not in line]  # its greetings
    return _COLOUR.sub("", "\n".join(said[-lines:]))


def _quiet():
    """A logger for nbclient that says nothing: what it would log is in CellFailed."""
    logger = logging.getLogger("sdlearn.kernel")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    return logger
