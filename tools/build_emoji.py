"""Build data/emoji from the four npm packages it is made of.

    python tools/build_emoji.py                   # fetches the packages with `npm pack`
    python tools/build_emoji.py --sources FOLDER  # uses the .tgz files in FOLDER

The rows and captions are made here, from the packages; splits.tsv fixes the split of each and is
checked against them row by row. The same sources give the same bytes.
"""

import argparse
import collections
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "flat": "@iconify-json/noto@1.2.9",
    "bold": "@iconify-json/twemoji@1.2.5",
    "labels": "emojibase-data@17.0.0",
}
STYLES = ("3d", "flat", "bold")
SPLITS = ("train", "test_tone", "test_pair", "test_style")
SIZE = 64
TONES = ("", "light", "medium-light", "medium", "medium-dark", "dark")
PEOPLE = {"person", "man", "woman", "boy", "girl"}
HAIR = {"bald": "bald head"}  # the others are said as they are: "red hair", "beard"
LEFT_OUT = {("1F63A", "3d")}  # its file is a copy of another picture
COLUMNS = ("image", "caption", "caption_zh", "prompt", "style", "key", "tags", "group", "subgroup",
           "skin_tone")  # fmt: skip


def normal(code_points):
    """One spelling for a code point sequence: no leading zeros, no variation selectors."""
    parts = (part.lstrip("0") for part in code_points.upper().split("-"))
    return "-".join(part for part in parts if part != "FE0F")


def listed(words):
    """["a", "b", "c"] → "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def caption(label, subgroup):
    """A CLDR label as one would say it: "man: dark skin tone" → "man with dark skin"."""
    label = label.translate(str.maketrans("’“”", '\'""'))
    if subgroup == "time" and re.fullmatch(r"\w+(-thirty| o'clock)", label):
        return f"clock face showing {label}"
    head, colon, rest = label.partition(": ")
    if not colon:
        return label
    if subgroup == "keycap":
        return f"{head} {rest}"
    parts = rest.split(", ")
    people = [p for p in parts if p in PEOPLE]
    tones = [p.replace(" tone", "") for p in parts if p.endswith(" skin tone")]
    facing = [p for p in parts if p.startswith("facing")]
    looks = [HAIR.get(p, p) for p in parts if p not in PEOPLE and p not in facing]
    looks = [p.replace(" tone", "") for p in looks]
    if len(people) == len(tones) == 2:
        both = [f"{person} with {tone}" for person, tone in zip(people, tones)]
        return f"{head} of {listed(both)}"
    if people:
        head = f"{head} of {listed(people)}"
    if looks:
        head = f"{head} with {listed(looks)}"
    return " ".join([head, *facing])


def fetch(folder):
    """Download the packages that are not in `folder` yet."""
    missing = [p for p in PACKAGES.values() if not archive(folder, p).exists()]
    npm = shutil.which("npm")  # the full name: on Windows it is npm.cmd
    if missing and not npm:
        sys.exit(f"npm is not installed and {', '.join(missing)} not in {folder}: see --sources")
    for package in missing:
        subprocess.run([npm, "pack", "--silent", package], cwd=folder, check=True)


def archive(folder, package):
    return Path(folder) / (package.lstrip("@").replace("/", "-").replace("@", "-") + ".tgz")


def unpack(folder, package, wanted):
    """File name → bytes, for the files of a package whose name `wanted` accepts."""
    with tarfile.open(archive(folder, package)) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and wanted(m.name)]
        return {m.name.removeprefix("package/"): tar.extractfile(m).read() for m in members}


def read_labels(folder):
    """Key → caption, caption_zh, tags, group, subgroup, skin tone of every emoji we might draw."""
    want = {f"package/{lang}/data.json" for lang in ("en", "zh")} | {"package/meta/groups.json"}
    unpacked = unpack(folder, PACKAGES["labels"], want.__contains__)
    files = {name: json.loads(data) for name, data in unpacked.items()}
    groups = files["meta/groups.json"]
    chinese = {
        normal(e["hexcode"]): e["label"]
        for base in files["zh/data.json"]
        for e in [base, *base.get("skins", [])]
    }
    found = {}
    for base in files["en/data.json"]:
        if "group" not in base:  # regional indicators
            continue
        group = groups["groups"][str(base["group"])]
        subgroup = groups["subgroups"][str(base["subgroup"])]
        if group == "component" or subgroup in ("country-flag", "subdivision-flag"):
            continue
        for emoji in [base, *base.get("skins", [])]:
            tones = emoji.get("tone", 0)
            tones = tones if isinstance(tones, list) else [tones]
            key = normal(emoji["hexcode"])
            found[key] = {
                "key": key,
                "caption": caption(emoji["label"], subgroup),
                "caption_zh": chinese[key],
                "tags": base.get("tags", []),
                "group": group,
                "subgroup": subgroup,
                "skin_tone": " and ".join(TONES[t] for t in dict.fromkeys(tones)),
            }
    return found


def read_webp(folder):
    """Key → a function that opens the 3D picture."""
    files = unpack(folder, PACKAGES["3d"], lambda name: name.endswith(".webp"))
    # Some pictures come twice, as 23-… and 0023-…; sorting makes the choice a fixed one.
    by_key = {normal(Path(name).stem): data for name, data in sorted(files.items())}
    return {key: lambda data=data: Image.open(io.BytesIO(data)) for key, data in by_key.items()}


def read_svg(folder, style):
    """Key → a function that draws the SVG at twice the wanted size."""
    import resvg_py

    files = unpack(
        folder, PACKAGES[style], lambda name: name.endswith(("icons.json", "chars.json"))
    )
    icons, chars = json.loads(files["icons.json"]), json.loads(files["chars.json"])

    def draw(name):
        name = icons["aliases"].get(name, {}).get("parent", name)
        icon = icons["icons"][name]
        width = icon.get("width", icons["width"])
        height = icon.get("height", icons["height"])
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIZE, height=2 * SIZE)
        return Image.open(io.BytesIO(bytes(png)))

    return {normal(code): lambda name=name: draw(name) for code, name in sorted(chars.items())}


def on_white(picture, size=SIZE):
    """Pad to a square, put on white, reduce to size × size."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    # White first, then reduce: the colour of transparent pixels cannot bleed into the edges.
    white = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert("RGB")
    return white.resize((size, size), Image.Resampling.LANCZOS)


def build_rows(folder):
    """All rows, in the order of styles and labels, with the picture as WebP bytes."""
    labels = read_labels(folder)
    for style in STYLES:
        pictures = read_webp(folder) if style == "3d" else read_svg(folder, style)
        seen = set()
        for key, label in labels.items():
            if key not in pictures or (key, style) in LEFT_OUT:
                continue
            picture = on_white(pictures[key]())
            fingerprint = hashlib.sha256(picture.tobytes()).digest()
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=90, method=6)
            yield {
                **label,
                "style": style,
                "prompt": f"{label['caption']}, {style} style",
                "image": {"bytes": buffer.getvalue(), "path": f"{key}_{style}.webp"},
            }


def read_splits(path):
    lines = Path(path).read_text(encoding="utf8").splitlines()
    return [dict(zip(lines[0].split("\t"), line.split("\t"))) for line in lines[1:]]


def differences(rows, splits):
    """Sentences on every row that is missing, surplus, or differs from the split list."""
    want = {(s["key"], s["style"]): s for s in splits}
    have = {(r["key"], r["style"]): r for r in rows}
    yield from (f"missing {k}: {want[k]['caption']}" for k in want if k not in have)
    yield from (f"surplus {k}: {have[k]['caption']}" for k in have if k not in want)
    for k in want.keys() & have.keys():
        for column in ("caption", "caption_zh"):
            if want[k][column] != have[k][column]:
                yield f"{k}: {column} {have[k][column]!r} should be {want[k][column]!r}"


def write_split(path, rows):
    """One parquet file that `datasets` opens with the picture column as pictures."""
    text = {"dtype": "string", "_type": "Value"}
    kinds = {name: text for name in COLUMNS}
    # "Sequence" is understood by datasets 3 to 5; its newer name, "List", is not.
    kinds |= {"image": {"_type": "Image"}, "tags": {"feature": text, "_type": "Sequence"}}
    types = {
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        "tags": pa.list_(pa.string()),
    }
    schema = pa.schema(
        [(name, types.get(name, pa.string())) for name in COLUMNS],
        metadata={"huggingface": json.dumps({"info": {"features": kinds}})},
    )
    table = pa.table({name: [row[name] for row in rows] for name in COLUMNS}, schema=schema)
    pq.write_table(table, path, compression="zstd", row_group_size=1000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sources", type=Path, help="folder with the packages' .tgz files")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "emoji")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sources = options.sources or Path(temporary)
        fetch(sources)
        rows = list(build_rows(sources))
    splits = read_splits(ROOT / "data" / "emoji" / "splits.tsv")
    if wrong := list(differences(rows, splits)):
        print(*wrong[:20], sep="\n")
        sys.exit(f"{len(wrong)} differences from splits.tsv; nothing was written")
    by_key = {(r["key"], r["style"]): r for r in rows}
    in_split = collections.defaultdict(list)
    for s in splits:
        in_split[s["split"]].append(by_key[s["key"], s["style"]])
    options.out.mkdir(parents=True, exist_ok=True)
    sums = []
    for split in SPLITS:
        path = options.out / f"{split}.parquet"
        write_split(path, in_split[split])
        sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
        size = path.stat().st_size / 2**20
        print(f"{path.name:20} {len(in_split[split]):5} pictures {size:6.2f} MB")
    (options.out / "SHA256SUMS").write_text("".join(sums), encoding="utf8", newline="\n")


if __name__ == "__main__":
    main()
