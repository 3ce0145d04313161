"""Build data/photos from the photographs that come inside the scikit-image package.

    python tools/build_photos.py                # fetches the package with `pip download`
    python tools/build_photos.py --wheel FILE   # uses a wheel of it that is here already

Only photographs which scikit-image says are CC0 or in the public domain are taken; what it says of
each stands in the docstrings of skimage/data/_fetchers.py and is repeated here.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image, ImageCms

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "scikit-image==0.26.0"
LONGEST = 512  # pixels
CC0 = "CC0 1.0"
PUBLIC = "public domain"

# file in the package, caption, author, licence, where scikit-image had it from (if it says so)
PHOTOS = [
    ("astronaut.png", "portrait of an astronaut in an orange space suit", "NASA", PUBLIC,
     "https://flic.kr/p/r9qvLn"),
    ("brick.png", "grey wall of bricks seen from the side", "CC0Textures (Bricks25)", CC0,
     "https://cc0textures.com/view.php?tex=Bricks25"),
    ("camera.png", "man with a camera on a tripod, black and white", "Lav Varshney", CC0, ""),
    ("chelsea.png", "face of a tabby cat", "Stefan van der Walt", CC0, ""),
    ("clock_motion.png", "wall clock blurred by a moving camera", "Stefan van der Walt", PUBLIC,
     ""),
    ("coffee.png", "cup of coffee on a red saucer", "Rachel Michetti", CC0, ""),
    ("grass.png", "grass seen from above, black and white", "linolafett", CC0,
     "https://www.deviantart.com/linolafett/art/Grass-01-434853879"),
    ("gravel.png", "gravel seen from above, black and white", "CC0Textures (Gravel04)", CC0,
     "https://cc0textures.com/view.php?tex=Gravel04"),
    ("hubble_deep_field.jpg", "hundreds of galaxies in a black sky", "NASA (Hubble)", PUBLIC,
     "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/"),
    ("retina.jpg", "retina of a human eye", "Mikael Häggström", CC0,
     "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg"),
    ("rocket.jpg", "rocket on its launch pad at dusk", "SpaceX", PUBLIC,
     "https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/"),
]  # fmt: skip


def fetch(folder):
    """Download the package's wheel and return its path."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), PACKAGE], check=True)
    return next(Path(folder).glob("scikit_image-*.whl"))


def as_srgb(picture):
    """RGB or grey pixels in sRGB, which is what everybody takes a picture without profile for."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode != "RGB":
        return picture
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheel", type=Path, help="a wheel of scikit-image")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "photos")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        wheel = zipfile.ZipFile(io.BytesIO((options.wheel or fetch(temporary)).read_bytes()))
    for name, caption, author, licence, origin in PHOTOS:
        picture = as_srgb(Image.open(io.BytesIO(wheel.read(f"skimage/data/{name}"))))
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        path = options.out / Path(name).with_suffix(".jpg")
        picture.save(path, quality=90, optimize=True, exif=b"", icc_profile=None)
        row = {
            "file_name": path.name,
            "caption": caption,
            "author": author,
            "licence": licence,
            "source": f"{PACKAGE.replace('==', ' ')}, skimage/data/{name}",
            "original": origin,
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{path.name:22} {picture.width:4} x {picture.height:3} {picture.mode}")
    metadata = options.out / "metadata.jsonl"
    metadata.write_text("".join(lines), encoding="utf8", newline="\n")


if __name__ == "__main__":
    main()
