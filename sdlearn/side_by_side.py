"""Several chapters at a time: a process of `sdlearn run` for each, and one stream for all."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading

STATUS = re.compile(r"\S+  (starting|cell \d+ of \d+)  \d+ s\n")  # how far a chapter is
TOTAL = re.compile(r"1 chapter in \d+ s\. Open .*\n")


def run_side_by_side(paths, options, stream, jobs):
    """Execute notebooks, `jobs` at a time. Returns False when one fails; the others are ended.

    options: of the command `sdlearn run`, for each. Whatever happens, an interrupt included, no
    process is left when this returns.
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    environment.setdefault("OMP_NUM_THREADS", threads)
    waiting, running, told = list(paths), [], queue.Queue()

    def start(path):
        command = [sys.executable, "-m", "sdlearn", "run", str(path), "--jobs", "1", *options]
        # A session of its own: Ctrl-C reaches this process alone, which passes it on.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            env=environment, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        threading.Thread(target=listen, args=(process,), daemon=True).start()

    def listen(process):
        for line in process.stdout:
            told.put((process, line))
        told.put((process, None))

    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                start(waiting.pop(0))
            try:
                process, line = told.get(timeout=1)  # on Windows, Ctrl-C waits for its end
            except queue.Empty:
                continue
            if line is None:
                running.remove(process)
                if process.wait():
                    return False
            elif not TOTAL.fullmatch(line) and not (stream.isatty() and STATUS.fullmatch(line)):
                stream.write(line)
                stream.flush()
    finally:
        for process in running:
            process.send_signal(signal.SIGINT) if os.name != "nt" else process.terminate()
        for process in running:
            process.wait()
    return True
