"""Writes constraints.txt: the newest releases that fit together, for every Python of the course.

    python tools/pins.py            (needs uv: pip install uv)
    python tools/pins.py torch==2.13.0

Each argument holds one package at a version. The result is for all systems at once; where a
package's newest release differs between versions of Python, it has a line for each. Then run
`make test` and commit the file.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HEAD = """\
# The versions that the course is tested with. They constrain, they install nothing:
#     pip install -c constraints.txt -e ".[lab]"
# Written by tools/pins.py. What torch itself pins (CUDA, Triton) is left to torch.
"""

_LEFT_TO_TORCH = re.compile(r"(nvidia-|cuda-|triton\b)")
_PYTHON = re.compile(r"python_full_version (?:<|>=|==) '[\d.*]+'")


def main():
    held = sys.argv[1:]
    command = ["uv", "pip", "compile", "pyproject.toml", "--extra", "dev", "--universal"]
    command += ["--python-version", "3.10", "--no-header", "--no-annotate", "--quiet"]
    command += ["--constraints", "-"] if held else []
    try:
        done = subprocess.run(
            command, cwd=ROOT, input="\n".join(held), stdout=subprocess.PIPE, text=True, check=True
        )
    except FileNotFoundError:
        raise SystemExit("uv is not installed: pip install uv") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None  # uv has said why
    lines = [line for line in map(shorten, done.stdout.splitlines()) if line]
    text = HEAD + "\n" + "\n".join(lines) + "\n"
    (ROOT / "constraints.txt").write_text(text, encoding="utf-8", newline="\n")
    print(f"constraints.txt: {len(lines)} pins")


def shorten(line):
    """One line of uv's list as a constraint, with the versions of Python as its only condition.

    A constraint for a package that a system does not need does nothing, so the systems can go.
    """
    pin, _, marker = line.partition(" ; ")
    if _LEFT_TO_TORCH.match(pin) or "sys_platform == 'emscripten'" in marker:
        return ""
    # "or" joins systems (hf-xet): with one of them lacking the condition, it says nothing.
    pythons = [] if " or " in marker else _PYTHON.findall(marker)
    pythons = [python for python in pythons if "'3.15'" not in python]
    return pin + (f" ; {' and '.join(pythons)}" if pythons else "")


if __name__ == "__main__":
    main()
