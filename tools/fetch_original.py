"""Fetch the code that Stable Diffusion was published with, to hold the course against it.

    python tools/fetch_original.py        # into build/original, 8 MB
    python -m pytest tests/test_original.py

It is Stability AI's repository (which took over CompVis's), as PyPI has it, with OpenCLIP for the
text encoder of 2.x. Nothing of it is in the course, and only those tests import it.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "build" / "original"
# Without what they require: half of that is for training, and pinned to releases of 2021.
PACKAGES = [
    "stable-diffusion-sdkit==2.1.5",
    "open-clip-torch==2.24.0",
    "einops==0.8.2",
    "ftfy==6.3.1",
    "wcwidth==0.9.4",
]


def main():
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    command += ["--no-deps", "--upgrade", "--target", str(FOLDER), *PACKAGES]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
