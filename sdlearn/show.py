"""Pictures for the notebooks: one look, alt text for every figure, animations and sliders.

Every function here displays its picture at once and returns None. `alt` says in a sentence what
there is to see, for readers who cannot see it; no picture is shown without.
"""

import base64
import html
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from PIL import Image

# Okabe and Ito's colours: told apart by colour-blind readers too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]

STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "image.cmap": "gray",
    "legend.frameon": False,
    "lines.linewidth": 2,
}
plt.rcParams.update(STYLE)


def to_uint8(x):
    """[..., C, H, W] in [-1, 1], one or three channels → [..., H, W, 3] bytes. Clamps."""
    x = torch.as_tensor(x).detach().float().cpu()
    if x.dim() < 3 or x.shape[-3] not in (1, 3):
        raise ValueError(f"pictures are [..., 1 or 3, H, W], not {list(x.shape)}")
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1)
    return x.expand(*x.shape[:-1], 3).numpy()


def _as_arrays(images):
    """A batch of tensors, or a list of tensors or PIL pictures → a list of [H, W, 3] bytes."""
    if isinstance(images, torch.Tensor) and images.dim() == 3:
        images = images[None]
    return [
        np.asarray(i.convert("RGB")) if isinstance(i, Image.Image) else to_uint8(i) for i in images
    ]


def _bytes(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _img(data, alt, mime="image/png", width=None):
    """An <img> with alt text and the picture inside."""
    if not alt or len(alt) < 20:
        raise ValueError(f"alt text {alt!r} is too short to tell a blind reader what there is")
    size = f' width="{width}" style="image-rendering: pixelated"' if width else ""
    text = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(alt)}"{size} src="data:{mime};base64,{text}">'


def _bundle(data, alt):
    """Show a PNG: plainly, and as HTML with alt text, which JupyterLab and exports prefer."""
    # 256 colours are plenty for figures and halve the size; WebP, lossless, takes a quarter off.
    picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    webp = _bytes(picture.convert("RGB"), "WEBP", lossless=True)
    return {
        "text/html": _img(webp, alt, "image/webp"),
        "image/png": base64.b64encode(_bytes(picture, optimize=True)).decode(),
        "text/plain": f"<picture: {alt}>",
    }


def _save(fig, tight=True):
    """A figure as the bytes of a PNG. Closes it."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", bbox_inches="tight" if tight else None)
    plt.close(fig)
    return buffer.getvalue()


def figure(fig, alt):
    """Show a matplotlib figure and close it."""
    display(_bundle(_save(fig), alt), raw=True)


def _draw_images(images, titles=None, cols=None, rows=None, scale=1.0, title=None):
    arrays = _as_arrays(images)
    cols = cols or min(len(arrays), 8)
    lines = -(-len(arrays) // cols)
    cell = 1.15 * scale
    # Titles stand above the pictures that have one; several lines need more room.
    heights = [0.17 * (str(t).count("\n") + 1) for t in titles or []]
    extra = sum(max(heights[i : i + cols]) for i in range(0, len(heights), cols))
    left = 0.13 * max((len(str(r)) for r in rows or []), default=0) * 0.75
    tall = max(array.shape[0] / array.shape[1] for array in arrays)  # of wide pictures below 1
    size = (cols * cell + left, lines * cell * tall + extra + (0.3 if title else 0))
    fig, axes = plt.subplots(lines, cols, figsize=size, squeeze=False)
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, array) in enumerate(zip(axes.flat, arrays)):
        ax.imshow(array, interpolation="nearest")
        if titles is not None and i < len(titles):
            ax.set_title(titles[i], fontsize=8, pad=2)
    for i, label in enumerate(rows or []):
        axes[i, 0].text(
            -0.08, 0.5, label, ha="right", va="center", fontsize=9, transform=axes[i, 0].transAxes
        )
    if title:
        fig.suptitle(title, fontsize=11)
    return fig


def images(images, alt, titles=None, cols=None, rows=None, scale=1.0, title=None):
    """Show pictures in a grid.

    images: [B, C, H, W] in [-1, 1], or a list of [C, H, W] tensors or PIL pictures. titles: one
    for each picture. rows: one label for each row. cols: pictures in a row (8 at most by default).
    """
    figure(_draw_images(images, titles, cols, rows, scale, title), alt)


def curves(lines, alt, x=None, title=None, xlabel=None, ylabel=None, log=False, size=(6.5, 2.8)):
    """Show curves: a dict of label → values. x: shared positions; log: logarithmic y axis."""
    fig, ax = plt.subplots(figsize=size)
    for i, (label, values) in enumerate(lines.items()):
        values = torch.as_tensor(values).detach().cpu()
        # Line style as well as colour, so that print and colour-blind readers can follow.
        ax.plot(range(len(values)) if x is None else x, values, ("-", "--", "-.", ":")[i % 4],
                label=label)  # fmt: skip
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set_yscale("log")
    if len(lines) > 1:
        ax.legend()
    figure(fig, alt)


def gif(frames, alt, seconds=4.0, scale=4, cols=None, hold=1.0, colours=128):
    """Show an animation that repeats; where HTML is not shown, its last frame.

    frames: a list of [C, H, W] pictures, of [B, C, H, W] batches (drawn as a grid with `cols`
    columns) or of PIL pictures. seconds: for one run. scale: screen pixels for each pixel.
    hold: seconds for which the last frame stays. colours: fewer make the file smaller.
    """
    pictures = [
        f if isinstance(f, Image.Image) else Image.fromarray(tile(_as_arrays(f), cols))
        for f in frames
    ]
    last = pictures[-1].resize([scale * side for side in pictures[-1].size], Image.Resampling.BOX)
    durations = [int(1000 * seconds / len(pictures))] * len(pictures)
    durations[-1] += int(1000 * hold)
    pictures = [p.convert("RGB").quantize(colours, dither=Image.Dither.NONE) for p in pictures]
    data = _bytes(
        pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0
    )
    bundle = _bundle(_bytes(last), alt)
    # Enlarged by the browser, not in the file: that would be sixteen times the bytes.
    bundle["text/html"] = _img(data, alt, "image/gif", width=last.width)
    display(bundle, raw=True)


def tile(arrays, cols=None, gap=1):
    """[H, W, 3] byte arrays of one size, side by side in one, with white gaps."""
    cols = cols or min(len(arrays), 8)
    height, width = arrays[0].shape[:2]
    lines = -(-len(arrays) // cols)
    sheet = np.full((lines * (height + gap) - gap, cols * (width + gap) - gap, 3), 255, np.uint8)
    for i, array in enumerate(arrays):
        y, x = (i // cols) * (height + gap), (i % cols) * (width + gap)
        sheet[y : y + height, x : x + width] = array
    return sheet


def figure_picture(fig):
    """A matplotlib figure as a PIL picture, for `gif` and `slider`. Closes the figure."""
    return Image.open(io.BytesIO(_save(fig, tight=False))).convert("RGB")


def slider(draw, values, alt, label="t", strip=None, width=None):
    """Show a slider over `values`, and the picture that `draw(value)` makes for each.

    draw: value → PIL picture or [C, H, W] tensor. strip: the values of the still strip that takes
    the slider's place where there is no running kernel (on GitHub, in HTML); seven by default.
    """
    import ipywidgets  # only here: everything else works without

    values = list(values)

    def png(value):
        picture = draw(value)
        if not isinstance(picture, Image.Image):
            picture = Image.fromarray(to_uint8(picture))
        return picture

    def page(i):
        said = f"{label} = {values[i]}: {alt}"
        return _img(_bytes(png(values[i])), said, width=width)

    handle = ipywidgets.IntSlider(0, 0, len(values) - 1, description=label, readout=False)
    number = ipywidgets.Label(str(values[0]))
    shown = ipywidgets.HTML(page(0))

    def moved(change):
        number.value = str(values[change["new"]])
        shown.value = page(change["new"])

    handle.observe(moved, names="value")
    box = ipywidgets.VBox([ipywidgets.HBox([handle, number]), shown])

    if strip is None:
        n = min(len(values), 7)
        strip = [values[round(k * (len(values) - 1) / max(n - 1, 1))] for k in range(n)]
    fig = _draw_images([png(v) for v in strip], [f"{label} = {v}" for v in strip], cols=len(strip))
    bundle = _bundle(_save(fig), f"Strip of pictures, {label} = {strip}: {alt}")
    # The widget comes first where a kernel answers; the strip is what is left in the stored file.
    bundle["application/vnd.jupyter.widget-view+json"] = {
        "version_major": 2,
        "version_minor": 0,
        "model_id": box.model_id,
    }
    display(bundle, raw=True)
