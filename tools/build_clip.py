"""Build data/clip from the vocabulary of CLIP that comes inside the open_clip_torch package.

    python tools/build_clip.py                # fetches the package with `pip download`
    python tools/build_clip.py --wheel FILE   # uses a wheel of it that is here already

Of the merges in that file CLIP uses the first 48,894: 49,408 tokens without 512 symbols of bytes
and the two special ones. Everything else about the tokenizer follows from them.
"""

import argparse
import gzip
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "open_clip_torch==3.3.0"
MEMBER = "open_clip/bpe_simple_vocab_16e6.txt.gz"
COUNT = 49408 - 512 - 2


def build(wheel, folder):
    """Write merges.txt.gz."""
    lines = gzip.decompress(zipfile.ZipFile(wheel).read(MEMBER)).decode().split("\n")
    text = "\n".join(["#version: 0.2", *lines[1 : COUNT + 1], ""])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheel", type=Path, help=f"a wheel of {PACKAGE}")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "clip")
    args = parser.parse_args()
    if args.wheel:
        build(args.wheel, args.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(command, check=True)
        build(next(Path(folder).glob("*.whl")), args.out)


if __name__ == "__main__":
    main()
