"""What a stored notebook must be: one rule a function, each yields what is wrong and what to do.

Rules take the notebook and its path. test_notebooks.py holds every chapter to every rule, and
every rule to notebooks that break it.
"""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

import notebooks as tools

ROOT = Path(__file__).resolve().parents[1]
EXECUTE = "run `python tools/notebooks.py execute`"
WIDGET = "application/vnd.jupyter.widget-view+json"


# What the rules look at.


def code(notebook):
    """(how to name it, cell) of every code cell."""
    return [(f"cell {k}", c) for k, c in enumerate(notebook.cells) if c.cell_type == "code"]


def prose(notebook):
    """(how to name it, text without fenced and inline code) of every Markdown cell."""
    cells = [(f"cell {k}", c.source) for k, c in enumerate(notebook.cells)]
    cells = [cells[k] for k, c in enumerate(notebook.cells) if c.cell_type == "markdown"]
    fenced = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
    return [(where, re.sub(r"(`+)[^`]+?\1", " ", fenced.sub("", text))) for where, text in cells]


def all_prose(notebook):
    return "\n\n".join(text for _, text in prose(notebook))


def outputs(notebook):
    """(how to name it, output) of every output."""
    return [(where, output) for where, cell in code(notebook) for output in cell.outputs]


def output_text(output):
    """What an output says in letters: its text, HTML and error, without the pictures inside."""
    data = output.get("data", {})
    parts = [data[mime] for mime in data if not mime.startswith("image/")]
    parts += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
    text = "\n".join(part if isinstance(part, str) else json.dumps(part) for part in parts)
    return re.sub(r"data:image/[\w.+-]+;base64,[\w+/=]+", "", text)


def opening(notebook):
    """The text of the Markdown cells before the first code cell."""
    cells = notebook.cells
    first = next((k for k, c in enumerate(cells) if c.cell_type == "code"), len(cells))
    return "\n".join(cell.source for cell in cells[:first])


def section(notebook, pattern):
    """The Markdown from the heading that matches to the next of its level or above, or None."""
    text = all_prose(notebook)
    heading = re.search(rf"^(##+) .*{pattern}.*$", text, re.MULTILINE | re.IGNORECASE)
    if not heading:
        return None
    rest = text[heading.end() :]
    end = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def exercises(notebook):
    """(how to name it, cell, exercise) of every cell that asks for an answer."""
    found = []
    for where, cell in code(notebook):
        names = re.findall(r"^@exercise\(\s*[\"']([^\"']+)", cell.source, re.MULTILINE)
        found += [(where, cell, name) for name in names]
    return found


def bank(number):
    """The names of the exercises that the bank of chapter `number` ("01") holds."""
    try:
        return {e.name for e in importlib.import_module(f"sdlearn.exercises.ch{number}").EXERCISES}
    except ModuleNotFoundError:
        return set()


# The rules: as it was run.


def executed_in_order(notebook, path):
    for n, (where, cell) in enumerate(code(notebook), 1):
        if not cell.source.strip():
            yield f"{where} is empty: delete it"
        elif cell.execution_count != n:
            yield f"{where} has count {cell.execution_count}, expected {n}: {EXECUTE}"


def no_errors_stored(notebook, path):
    for where, output in outputs(notebook):
        if output.output_type == "error":
            yield f"{where} ended with {output.ename}: repair it, then {EXECUTE}"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"{where} warns {output.text.strip()[:80]!r} (stderr): mend its cause"


def no_machine_paths(notebook, path):
    places = [str(ROOT), str(Path.home()), tempfile.gettempdir(), sys.prefix]
    here = "|".join(re.escape(place) for place in places if len(place) > 1)
    paths = re.compile(
        rf"(?<![\w./])({here}|/(home|Users|root|tmp|mnt|work|var/folders)/\w)"
        r"|(site|dist)-packages|\b[A-Z]:\\+Users\b|\b0x[0-9a-f]{8,}"
    )
    texts = [(where, cell.source) for where, cell in code(notebook)]
    texts += prose(notebook) + [(where, output_text(output)) for where, output in outputs(notebook)]
    for where, text in texts:
        if found := paths.search(text):
            around = text[max(0, found.start() - 20) : found.end() + 40]
            yield f"{where} shows a place of one machine: {around!r}: print something else"


def pictures_have_alt_text(notebook, path):
    remedy = "draw it with sdlearn.show, alt text of 20 characters or more"
    for where, output in outputs(notebook):
        data = output.get("data", {})
        alts = [alt_of(tag) for tag in re.findall(r"<img\b[^>]*>", data.get("text/html", ""))]
        if any(mime.startswith("image/") for mime in data) and not alts:
            yield f"{where} has a picture without HTML beside it: {remedy}"
        for alt in alts:
            if len(alt) < 20:
                yield f"{where} has a picture with alt text {alt!r}: {remedy}"
        if WIDGET in data:
            yield f"{where} has a stored widget: {EXECUTE}"
        if set(data) == {"text/plain"} and re.match(
            r"[A-Z]\w+\((children|value)=", data["text/plain"]
        ):
            yield f"{where} has a widget that leaves nothing behind without a kernel: {remedy}"
    for where, text in prose(notebook):
        alts = [alt_of(tag) for tag in re.findall(r"<img\b[^>]*>", text)]
        for alt in alts + re.findall(r"!\[([^\]]*)\]", text):
            if len(alt) < 20 and alt != "Open in Colab":
                yield f"{where} has a picture with alt text {alt!r}: say what there is to see"


def alt_of(tag):
    found = re.search(r"\balt=(\"([^\"]*)\"|'([^']*)')", tag)
    return (found[2] or found[3] or "").strip() if found else ""


def outputs_are_small(notebook, path):
    sizes = [(len(json.dumps(cell.outputs)), where) for where, cell in code(notebook)]
    total = sum(size for size, _ in sizes)
    if total > 1_500_000:
        most = ", ".join(f"{where} {size >> 10} KiB" for size, where in sorted(sizes)[:-4:-1])
        yield f"{total:,} bytes of output, at most 1,500,000: shrink {most}"


def metadata_is_clean(notebook, path):
    if "widgets" in notebook.metadata:
        yield f"metadata.widgets makes GitHub refuse the notebook: {EXECUTE}"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield f"the kernelspec is not python3: {EXECUTE}"
    if "version" in notebook.metadata.get("language_info", {}):
        yield f"language_info has a Python version: {EXECUTE}"
    for where, cell in code(notebook):
        if "execution" in cell.metadata:
            yield f"{where} has timings in its metadata: {EXECUTE}"


# The rules: its generated parts, its place among the chapters.


def generated_cells_are_current(notebook, path):
    fresh = tools.refreshed(notebook, path.name)
    for k, (old, new) in enumerate(zip(notebook.cells, fresh.cells)):
        if old.source != new.source:
            yield f"cell {k} is out of date: run `python tools/notebooks.py refresh`"


def set_up_comes_first(notebook, path):
    marked = [w for w, c in code(notebook) if c.metadata.get("sdlearn", {}).get("setup")]
    first = [where for where, _ in code(notebook)][:1]
    if marked != first:
        yield (
            f"set-up cells are {marked}, expected {first}: give that one the metadata "
            '{"sdlearn": {"setup": true}}'
        )


def title_has_the_number(notebook, path):
    first = opening(notebook).partition("\n")[0]
    if not re.fullmatch(rf"# {path.name[:2]} · \S.*", first):
        yield f"the first line is {first!r}, expected '# {path.name[:2]} · Title'"
    titles = re.findall(r"^# .*", all_prose(notebook), re.MULTILINE)
    if len(titles) > 1:
        yield f"there are {len(titles)} titles: make them sections (##): {titles[1:]}"


def badge_is_right(notebook, path):
    found = re.findall(r"https://colab\.research\.google\.com/github/[^)\s\"]*", opening(notebook))
    if len(found) != 1 or tools.badge(path.name).count(f"({found[0]})") != 1:
        yield f"Colab badges: {found}, expected one, {tools.badge(path.name)}"


def links_resolve(notebook, path):
    headings = re.findall(r"^#+ +(.*)", all_prose(notebook), re.MULTILINE)
    here = f"{tools.repository()}/blob/main/"
    for where, text in prose(notebook):
        links = re.findall(r"\]\(\s*<?([^)\s>]+)[^)]*\)", text)
        links += re.findall(r"\b(?:href|src)=[\"']([^\"']+)", text)
        for link in links:
            if link.startswith(here):
                target = ROOT / unquote(link.removeprefix(here).partition("#")[0])
            elif link.startswith("#"):
                if slug(unquote(link[1:])) not in map(slug, headings):
                    yield f"{where} links to {link}, but no heading is called that"
                continue
            elif re.match(r"(https?|mailto|data):", link):
                continue
            else:
                target = path.parent / unquote(link.partition("#")[0])
            if link.startswith("/") or not target.exists():
                yield f"{where} links to {link}, which is not there: correct the link"


def slug(heading):
    """A heading as links name it; JupyterLab and GitHub differ in case and punctuation only."""
    return re.sub(r"[^\w-]", "", heading.strip().replace(" ", "-")).lower()


# The rules: its anatomy and its style.


def opening_tells_what_comes(notebook, path):
    text = opening(notebook)
    for what, pattern in [
        ("what you will build", r"\byou('ll| will)? build\b|\bwill build\b"),
        ("what you need to know", r"\bneed"),
        ("the time it takes", r"\b(minutes?|seconds?|min|s)\b"),
        ("the time on a CPU", r"\bCPU\b"),
        ("the time on a GPU", r"\bGPU\b"),
    ]:
        if not re.search(pattern, text, re.IGNORECASE):
            yield f"the text before the set-up cell does not say {what}"


def exercises_are_there(notebook, path):
    found = exercises(notebook)
    if len(found) < 3:
        yield f"{len(found)} exercises (@exercise), expected three or more"
    names = [name for _, _, name in found]
    number = path.name[:2]
    for name in sorted(set(names) - bank(number)):
        yield f"exercise {name!r} is not in the bank sdlearn/exercises/ch{number}: add it"
    for name in sorted(bank(number) - set(names)):
        yield f"exercise {name!r} is in the bank of chapter {number}, not in the notebook: use it"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"exercise {name!r} is asked twice: keep one"
    cells = [k for k, c in enumerate(notebook.cells) if any(c is e[1] for e in found)]
    between = notebook.cells[cells[0] : cells[-1]] if cells else []
    if not any(re.search(r"^## ", c.source, re.M) for c in between if c.cell_type == "markdown"):
        yield "all exercises are in one section: put each where it belongs in the flow"


def exercises_are_open(notebook, path):
    for where, cell, name in exercises(notebook):
        printed = "".join(output_text(output) for output in cell.outputs)
        if f"{name}: not done yet" not in printed:
            yield f"{where}: {name} is stored with an answer (or was not run): leave it to students"


def has_a_break_it_lab(notebook, path):
    text = section(notebook, "break it")
    if text is None:
        yield "no section is called 'Break it': show a classic mistake and ask for its cause"
    elif "<details" not in text:
        yield "'Break it' has no folded answer (<details>)"


def has_a_summary(notebook, path):
    text = section(notebook, "summary")
    if text is None:
        yield "no section is called 'Summary'"
        return
    sources = [cell.source for cell in notebook.cells]
    tail = re.split(r"^##+ .*summary", "\n".join(sources), flags=re.M | re.I)[-1]
    folded = len(re.findall(r"<details\b", text))
    if folded < 3 or folded != text.count("</details>") or folded != text.count("<summary"):
        yield f"the summary has {folded} folded answers, expected three (<details><summary>…)"
    if "sdlearn" not in tail:
        yield "the summary does not say in which module of sdlearn the things built live"
    if not re.search(r"\bread\b.*\b(19|20)\d\d\b", tail, re.I | re.S):
        yield "the summary names no papers to read, with their years"


def cells_are_short(notebook, path):
    lengths = [(len(c.source.strip().splitlines()), where) for where, c in code(notebook)]
    for length, where in lengths:
        if length > 35:
            yield f"{where} has {length} lines, at most 35: split it, or move code to the package"
    short = sum(length < 20 for length, _ in lengths)
    if short < 0.9 * len(lengths):
        long = sorted(pair for pair in lengths if pair[0] >= 20)
        yield f"{short} of {len(lengths)} code cells are under 20 lines, expected 9 in 10: {long}"


def prose_has_its_length(notebook, path):
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", " ", all_prose(notebook), flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)
    words = len(re.findall(r"[^\W\d_][\w'’-]*", text))
    if not 1200 <= words <= 3800:
        yield f"{words} words of prose, expected 1,200 to 3,800"


def formulas_are_balanced(notebook, path):
    for where, text in prose(notebook):
        text = text.replace(r"\$", "").replace(r"\\", " ")
        blocks = text.split("$$")
        if len(blocks) % 2 == 0:
            yield f"{where} has a $$ without a partner"
            continue
        formulas = blocks[1::2]
        for paragraph in re.split(r"\n\s*\n", "\n\n".join(blocks[::2])):
            pieces = paragraph.split("$")
            formulas += pieces[1::2]
            if len(pieces) % 2 == 0:
                yield f"{where} has a $ without a partner (\\$ for the sign): {paragraph[:60]!r}"
        for formula in formulas:
            bare = re.sub(r"\\[{}]", "", formula)
            sides = [bare.count("{") - bare.count("}")]
            sides.append(len(re.findall(r"\\left\b", bare)) - len(re.findall(r"\\right\b", bare)))
            sides.append(bare.count(r"\begin") - bare.count(r"\end"))
            if any(sides) or not formula.strip():
                yield f"{where}: braces, \\left or \\begin without an end in ${formula}$"


def nothing_left_to_do(notebook, path):
    for k, cell in enumerate(notebook.cells):
        if found := re.search(r"\b(TODO|FIXME|XXX)\b", cell.source):
            yield f"cell {k} says {found[0]}: do it"


def results_are_checked(notebook, path):
    """nbval compares the cells that say so; one without text to compare checks nothing."""
    checked = []
    for where, cell in code(notebook):
        if re.search(r"^ *# *NBVAL_CHECK_OUTPUT *$", cell.source, re.MULTILINE):
            checked.append(where)
            text = "".join(map(output_text, cell.outputs))
            if not text.strip():
                yield f"{where} says NBVAL_CHECK_OUTPUT and prints nothing: print a result"
            if long := re.search(r"\d\.\d{7,}", text):
                yield f"{where} prints {long[0]}, whose last digits differ by machine: round it"
    if len(checked) < 5:
        yield f"{len(checked)} cells say # NBVAL_CHECK_OUTPUT, expected five or more"


def ruff_is_content(notebook, path):
    for command in (["check", "--output-format=concise"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", path]
        done = subprocess.run(ruff, capture_output=True, text=True, cwd=ROOT, encoding="utf-8")
        if done.returncode:
            yield f"ruff {command[0]}: {(done.stdout + done.stderr).strip()}"


RULES = [
    executed_in_order,
    no_errors_stored,
    no_machine_paths,
    pictures_have_alt_text,
    outputs_are_small,
    metadata_is_clean,
    generated_cells_are_current,
    set_up_comes_first,
    title_has_the_number,
    badge_is_right,
    links_resolve,
    opening_tells_what_comes,
    exercises_are_there,
    exercises_are_open,
    has_a_break_it_lab,
    has_a_summary,
    cells_are_short,
    prose_has_its_length,
    formulas_are_balanced,
    nothing_left_to_do,
    results_are_checked,
    ruff_is_content,
]
