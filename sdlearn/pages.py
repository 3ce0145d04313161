"""Executed notebooks as HTML pages, with an index of them and a table of their times."""

import json
import re
from html import escape
from pathlib import Path

from .places import chapters

_WIDGET = "application/vnd.jupyter.widget-view+json"
# nbconvert's page without require.js and mermaid: both would be fetched from a server, and the
# course uses neither. (The formulas do need MathJax, by its address.)
_TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stable Diffusion from scratch</title>
<style>
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; }}
th, td {{ text-align: left; padding: 0.2rem 1.2rem 0.2rem 0; }}
</style>
</head>
<body>
<h1>Stable Diffusion from scratch</h1>
<table>
<tr><th>Chapter</th><th>Time</th><th>Device</th></tr>
{rows}
</table>
</body>
</html>
"""


def strip_widgets(notebook):
    """Drop the widgets of an executed notebook, in place: no live kernel stands behind them.

    Each output keeps its other forms (HTML, picture, text). The widget state in the metadata
    goes as well; GitHub refuses to show a notebook that has it. Returns the notebook.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if len(data) > 1:
                data.pop(_WIDGET, None)
                output.get("metadata", {}).pop(_WIDGET, None)
    return notebook


def title(notebook, default=""):
    """The first heading of a notebook without its marks: "01 · The forward process"."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = re.search(r"^# +(.+?) *$", cell.source, re.MULTILINE)
            if heading:
                return heading[1]
    return default


def to_html(notebook, path):
    """The HTML page of the executed `notebook` that is stored at `path`.

    Pictures it refers to by relative path are put into the page; links to other chapters
    become links to their pages. Changes the notebook as strip_widgets does.
    """
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"chapter.html.j2": _TEMPLATE})],
        template_file="chapter.html.j2",
        embed_images=True,
    )
    resources = {"metadata": {"name": title(notebook, path.stem), "path": str(path.parent)}}
    page, _ = exporter.from_notebook_node(strip_widgets(notebook), resources)
    for chapter in chapters(path.parent).values():
        page = page.replace(f'href="{chapter.name}', f'href="{chapter.stem}.html')
    return page


def write_page(notebook, path, out):
    """Write the notebook's page into `out` and renew the index there; returns the page's path."""
    page = out / f"{path.stem}.html"
    page.write_text(to_html(notebook, path), encoding="utf-8")
    write_index(out)
    return page


def write_index(out):
    """Write `out`/index.html: a line for each page there, with its time where it is known."""
    times = {row["chapter"]: row for row in read_timings(out)}
    rows = []
    for page in sorted(out.glob("*.html")):
        if page.stem == "index":
            continue
        name = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8")[:2000])
        link = f'<a href="{escape(page.name)}">{name[1] if name else escape(page.stem)}</a>'
        row = times.get(page.stem)
        time, device = (f"{row['seconds']:.0f} s", row["device"]) if row else ("not finished", "")
        rows.append(f"<tr><td>{link}</td><td>{time}</td><td>{escape(device)}</td></tr>")
    (out / "index.html").write_text(_INDEX.format(rows="\n".join(rows)), encoding="utf-8")


def read_timings(out):
    """The rows of `out`/timings.json: chapter, seconds, device. None yet: an empty list."""
    try:
        return json.loads((Path(out) / "timings.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a damaged file is simply written again
        return []


def write_timing(out, chapter, seconds=None, device=""):
    """Put a chapter's time into `out`/timings.json; without seconds, take it out."""
    rows = [row for row in read_timings(out) if row["chapter"] != chapter]
    if seconds is not None:
        rows.append({"chapter": chapter, "seconds": round(seconds, 1), "device": device})
    rows.sort(key=lambda row: row["chapter"])
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    (out / "timings.json").write_text(text, encoding="utf-8")
