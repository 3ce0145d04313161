"""The "parameters" of a picture as the AUTOMATIC1111 web UI writes them, and other programs read.

    crying cat, bold style
    Negative prompt: dark, blurred
    Steps: 20, Sampler: DPM++ 2M, CFG scale: 4.0, Seed: 7, Size: 64x64, Model: emoji

In a PNG it is the text chunk "parameters"; in JPEG and WebP the UserComment of the EXIF data.
"""

import json
import re

from PIL import ExifTags, Image

CHUNK = "parameters"
NEGATIVE = "Negative prompt:"
NAMES = {"steps": "Steps", "sampler": "Sampler", "guidance": "CFG scale", "seed": "Seed"}
NAMES |= {"size": "Size", "model": "Model", "strength": "Denoising strength"}
NAMES |= {"clip_skip": "Clip skip", "guidance_rescale": "CFG rescale"}
SAMPLERS = {"ddpm": "DDPM", "ddim": "DDIM", "euler": "Euler", "euler_a": "Euler a", "heun": "Heun"}
SAMPLERS |= {"dpmpp_2m": "DPM++ 2M", "dpmpp_2m_karras": "DPM++ 2M Karras"}
KINDS = {"steps": int, "guidance": float, "seed": int, "strength": float, "clip_skip": int}
KINDS |= {"count": int, "guidance_rescale": float}
PAIR = re.compile(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
UNICODE = b"UNICODE\0"  # how EXIF says which alphabet a comment is in


def quoted(value):
    """A value as text; in quotes if it has signs in it that separate values."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text


def to_text(settings):
    """Settings (prompt, negative_prompt, steps, …, and any others) as "parameters"."""
    values = dict(settings)
    lines = [values.pop("prompt")]
    if negative := values.pop("negative_prompt", ""):
        lines.append(f"{NEGATIVE} {negative}")
    values["size"] = "{}x{}".format(*values["size"])
    values["sampler"] = SAMPLERS.get(values["sampler"], values["sampler"])
    order = [*(name for name in NAMES if name in values), *(n for n in values if n not in NAMES)]
    pairs = [(NAMES.get(name, name), values[name]) for name in order]
    lines.append(", ".join(f"{k}: {quoted(v)}" for k, v in pairs if v is not None))
    return "\n".join(lines)


def from_text(text):
    """The settings in "parameters", under the course's names; what it has no name for as it stands.

    The last line counts as settings if there are three or more in it.
    """
    *lines, last = text.strip().split("\n")
    pairs = PAIR.findall(last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    prompt, negative = [], []
    now = prompt
    for line in lines:
        if line.strip().startswith(NEGATIVE):
            now, line = negative, line.strip()[len(NEGATIVE) :]
        now.append(line.strip())
    found = {"prompt": "\n".join(prompt).strip(), "negative_prompt": "\n".join(negative).strip()}
    ours = {name: key for key, name in NAMES.items()}
    for name, value in pairs:
        found[ours.get(name, name)] = unquoted(value)
    for name, kind in KINDS.items():
        if name in found:
            found[name] = number(found[name], kind)
    if size := re.fullmatch(r"(\d+)x(\d+)", found.get("size", "")):
        found["size"] = [int(side) for side in size.groups()]
    samplers = {name: key for key, name in SAMPLERS.items()}
    if "sampler" in found:
        kind = found.pop("Schedule type", "")  # newer versions name it apart
        name = f"{found['sampler']} {kind}" if kind == "Karras" else found["sampler"]
        found["sampler"] = samplers.get(name, found["sampler"])
    return found


def unquoted(value):
    if value.startswith('"'):
        try:
            return json.loads(value, strict=False)
        except ValueError:
            return value
    return value.strip()


def number(text, kind):
    try:
        return kind(text)
    except ValueError:
        return text


def exif(text):
    """The EXIF data with a text as its UserComment, for `picture.save(path, exif=…)`."""
    data = Image.Exif()
    data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = UNICODE + text.encode("utf-16-be")
    return data


def read(picture):
    """The "parameters" of a PIL picture, as text, or None."""
    if isinstance(text := picture.info.get(CHUNK), str):
        return text
    comment = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(comment, bytes):
        return comment or None
    if comment.startswith(UNICODE):
        comment = comment[len(UNICODE) :]
        # The standard leaves the order of bytes open. Most text has a zero in each pair.
        first = comment[::2].count(0) >= comment[1::2].count(0)
        return comment.decode("utf-16-be" if first else "utf-16-le", errors="replace")
    return comment.removeprefix(b"ASCII\0\0\0").decode(errors="replace")
