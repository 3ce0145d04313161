"""The student's record: what is done, kept in a small JSON file, and the table that shows it.

The file is a JSON object of exercise name → record; `sdlearn grade` reads it:

    {"forward.q_sample": {"status": "right", "message": "", "attempts": 3, "hints": 1}}

status: "right", "wrong" or "untouched", of the last run. message: what the student was told was
wrong, "" if right. attempts: runs until it was right (runs of an untouched cell do not count).
hints: how many different hints were read.

The environment variable SDLEARN_PROGRESS says where the file lies, or "off" to keep the record in
memory only. By default it is `.sdlearn/progress.json` in the course's folder.
"""

import contextlib
import html
import json
import os
from pathlib import Path

from ..places import course_root

EMPTY = {"status": "untouched", "message": "", "attempts": 0, "hints": 0}
MARKS = {"right": "✓ right", "wrong": "✗ try again", "untouched": "- not yet"}

_memory = {}  # the record when there is no file, or none that can be written
_told = set()  # troubles that were reported once
_shown = {}  # the last table shown, so that it can follow what happens


def place():
    """The path of the record's file, or None when it is kept in memory only."""
    chosen = os.environ.get("SDLEARN_PROGRESS", "").strip()
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    try:
        return course_root() / ".sdlearn" / "progress.json"
    except FileNotFoundError:
        return None


def load():
    """All records, name → dict. A damaged file is ignored, and said to be so once."""
    path = place()
    if path is None or ("unsaved", path) in _told:
        return dict(_memory)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: _checked(record) for name, record in stored.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        _tell("damaged", path, f"{path} cannot be read ({error}); progress is counted anew.")
        return {}


def save(name, **changes):
    """Change one exercise's record, in the file (written whole or not at all) and in the table."""
    records = load()
    records[name] = {**EMPTY, **records.get(name, {}), **changes}
    _memory.update(records)
    path = place()
    if path is not None:
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")
            os.replace(fresh, path)
            _told.discard(("unsaved", path))
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            what = f"{path} cannot be written ({error.strerror})"
            _tell("unsaved", path, f"{what}; progress is kept until the kernel stops.")
    if _shown:
        _shown["handle"].update(table(_shown["chapters"]), raw=True)


def _checked(record):
    """A record as it was read, or an error if it is none."""
    record = {key: record.get(key, value) for key, value in EMPTY.items()}
    if any(type(record[key]) is not type(value) for key, value in EMPTY.items()):
        raise ValueError("not a record of exercises")
    if record["status"] not in MARKS:
        raise ValueError(f"status {record['status']!r}")
    return record


def _tell(trouble, path, line):
    if (trouble, path) not in _told:
        _told.add((trouble, path))
        say(line)


def table(chapters):
    """The progress as a mime bundle of HTML and plain text. chapters: number → exercise names."""
    records = load()
    text, page = [], []
    for number, names in chapters.items():
        rows = [(name, {**EMPTY, **records.get(name, {})}) for name in names]
        right = sum(record["status"] == "right" for _, record in rows)
        text.append(f"Chapter {number:02}: {right} of {len(rows)} right")
        head = "".join(
            f"<th scope='col'>{h}</th>" for h in ("Exercise", "Status", "Tries", "Hints")
        )
        page.append(f"<table><caption>{text[-1]}</caption><thead><tr>{head}</tr></thead><tbody>")
        for name, record in rows:
            mark, tries, hints = MARKS[record["status"]], record["attempts"], record["hints"]
            counts = f"  (tries: {tries}, hints: {hints})" if tries or hints else ""
            text.append(f"  {mark:11} {name}{counts}")
            cells = "".join(f"<td>{cell}</td>" for cell in (mark, tries, hints))
            page.append(f"<tr><th scope='row'>{html.escape(name)}</th>{cells}</tr>")
        page.append("</tbody></table>")
    return {"text/html": "\n".join(page), "text/plain": "\n".join(text)}


def show_table(chapters):
    """Show the table; it follows along while further exercises are done."""
    handle = show(table(chapters), follow=True)
    _shown.clear()
    if handle is not None:
        _shown.update(handle=handle, chapters=chapters)


def say(text):
    """Print, also where the console cannot show every character."""
    try:
        print(text)
    except UnicodeEncodeError:
        print(text.encode("ascii", "replace").decode())


def show(bundle, follow=False):
    """Display a mime bundle in a notebook, print its plain text elsewhere."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        return say(bundle["text/plain"])
    return display(bundle, raw=True, display_id=True if follow else None)
