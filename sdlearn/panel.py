"""A panel to draw with in a notebook, for the pipeline of chapter 10: `panel(pipeline)`."""

import contextlib
import html
import re
import secrets
import threading
import time
from pathlib import Path

import ipywidgets as w
from IPython import get_ipython
from IPython.display import display
from traitlets import TraitError

from sdlearn.metadata import save_picture
from sdlearn.panel_given import WIDE, GivenBox
from sdlearn.panel_history import HistoryBox
from sdlearn.pipeline import skipped
from sdlearn.places import in_colab
from sdlearn.samplers import SAMPLERS
from sdlearn.show import _bytes, _img

SIDE = 256  # pixels of a picture on the screen, at least
PAUSE = 4  # times what a preview took: so previews cost a fifth of the time
STILL = (
    "<p><b>A panel to draw with</b>: prompt, seed, steps, guidance, sampler, a picture to begin "
    "with and a mask; the picture grows before your eyes. It needs a running kernel: open this "
    "notebook in JupyterLab or Colab and run the cell.</p>"
)


@contextlib.contextmanager
def no_display():
    """Keep the pipeline's progress bar, which belongs to no cell, out of the one that runs now."""
    publisher = getattr(get_ipython(), "display_pub", None)
    if not hasattr(publisher, "register_hook"):
        yield
        return

    def drop(message):
        """Hooks are of this thread alone, and pass nothing on by returning None."""

    publisher.register_hook(drop)
    try:
        yield
    finally:
        publisher.unregister_hook(drop)


class Stopped(Exception):
    """Raised inside the pipeline, in the step after Stop was pressed."""


def panel(pipeline, model=None, folder="build/drawn", size=None, **settings):
    """A widget to draw with: settings, live preview, Stop, the last 12 pictures, Save.

    pipeline: a TextToImage. model: its name, for the saved pictures. folder: where they go. size:
    see TextToImage. settings: what the fields begin with (prompt="…", steps=15, …).
    Nothing is drawn before Draw is pressed. Raises ValueError for settings that do not fit.
    """
    return Panel(pipeline, model, folder, size, settings)


class Panel(w.VBox):
    """See `panel`. fields: the widgets of the settings, by name. error: the last exception.

    current: the picture shown, as in `HistoryBox`; None while an unfinished one is shown.
    """

    def __init__(self, pipeline, model, folder, size, settings):
        super().__init__()
        self.pipeline, self.model, self.folder, self.size = pipeline, model, Path(folder), size
        self.current = self.thread = self.error = None
        self.busy = self.stopping = False
        self.start = GivenBox(self.pixels, self.say)
        last = len(pipeline.schedule)
        fields = [
            w.Textarea(description="prompt", rows=3, **WIDE),
            w.Text(description="negative prompt", **WIDE),
            w.BoundedIntText(0, min=0, max=2**53 - 1, description="seed", **WIDE),
            w.BoundedIntText(min(25, last), min=1, max=last, description="steps", **WIDE),
            w.FloatText(7.5, step=0.5, description="guidance", **WIDE),
            w.Dropdown(options=list(SAMPLERS), value="dpmpp_2m", description="sampler", **WIDE),
        ]
        names = [field.description.replace(" ", "_") for field in fields]
        self.fields = {**dict(zip(names, fields)), **self.start.fields}
        self.keep = w.Checkbox(False, description="keep this seed", **WIDE)
        self.fields["seed"].observe(lambda _: setattr(self.keep, "value", True), "value")
        texts = {"draw": "Draw", "stop": "Stop", "save": "Save", "use": "Begin with this"}
        self.buttons = {name: w.Button(description=text) for name, text in texts.items()}
        self.buttons["draw"].button_style = "primary"
        for name, button in self.buttons.items():
            button.on_click(getattr(self, name))
        self.view, self.status, self.history = w.HTML(), w.HTML(), HistoryBox(self.back)
        buttons = list(self.buttons.values())
        left = w.VBox([*fields[:3], self.keep, *fields[3:], self.start])
        right = w.VBox([w.HBox(buttons[:2]), self.status, self.view, w.HBox(buttons[2:])])
        self.children = [w.HBox([left, right]), self.history]
        self.put(settings)
        self.keep.value = "seed" in settings
        self.ready()

    def _ipython_display_(self, **_):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        # The widget comes first where a kernel answers; the text is what a stored file shows.
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/html": STILL}
        display({**bundle, "text/plain": re.sub("<.*?>", "", STILL)}, raw=True)

    def put(self, settings):
        """Put settings into the fields. Raises ValueError for what a field does not take."""
        for name, value in settings.items():
            if name not in self.fields:
                raise ValueError(f"there is no setting {name!r}: {', '.join(self.fields)}")
            field = self.fields[name]
            try:
                field.value = value
            except TraitError:
                field = None
            if field is None or field.value != value:
                raise ValueError(f"{name} {value!r} is not what its field in the panel takes")

    def say(self, text, bad=False):
        """A sentence in the panel's line of status."""
        style = ' style="color: #b00020"' if bad else ""
        self.status.value = f'<span role="status"{style}>{html.escape(text)}</span>'

    def picture(self, picture, alt):
        """Show it, enlarged where it is small, each pixel a square."""
        width = picture.width * max(1, SIDE // picture.width)
        self.view.value = _img(_bytes(picture), alt, width=width)

    def ready(self, busy=False):
        """What can be pressed now."""
        self.busy = busy
        for button in (self.buttons["draw"], *self.history.thumbs):
            button.disabled = busy
        self.buttons["stop"].disabled = not busy or in_colab()
        for name in ("save", "use"):
            self.buttons[name].disabled = busy or self.current is None

    def pixels(self):
        """Width and height of what is drawn."""
        height, width = self.pipeline.latent_size(self.size)
        return width * self.pipeline.vae.downscale, height * self.pipeline.vae.downscale

    def draw(self, _=None):
        """Draw: in a thread, so that the kernel hears of Stop; widgets change from threads too.

        Not so in Colab, which shows no change that comes from a thread: its own Runtime ▸ Interrupt
        execution does what Stop does elsewhere.
        """
        if self.busy:
            return
        try:
            image, mask = self.start.begin()
            if not self.keep.value:
                self.fields["seed"].value = secrets.randbelow(2**32)
                self.keep.value = False  # the new seed has ticked it
            settings = {name: field.value for name, field in self.fields.items()}
            skip = skipped(settings["strength"], settings["steps"]) if image else 0
        except ValueError as error:
            self.say(str(error), bad=True)
            return
        self.stopping, self.error = False, None
        self.ready(busy=True)
        self.say("Runtime ▸ Interrupt execution stops it" if in_colab() else "beginning …")
        given = dict(self.start.given), image, mask
        self.thread = threading.Thread(target=self.work, args=(settings, given, skip), daemon=True)
        self.thread.run() if in_colab() else self.thread.start()

    def stop(self, _=None):
        self.stopping = True
        self.say("stopping after this step …")

    def work(self, settings, given, skip):
        """One drawing, to its end, its stop or its error."""
        uploads, image, mask = given
        steps, began, preview = settings["steps"] - skip, time.monotonic(), 0

        def seconds():
            return f"{time.monotonic() - began:.1f} s"

        def callback(i, latents):
            nonlocal preview
            if self.stopping:
                raise Stopped
            now = time.monotonic()
            if now >= preview:
                self.current = None  # nothing to save while it is unfinished
                guess = self.pipeline.decode(latents)[0]
                self.picture(guess, f"The unfinished picture in step {i + 1} of {steps}")
                after = time.monotonic()
                preview = after + max(0.1, PAUSE * (after - now))
            self.say(f"step {i + 1} of {steps}, {seconds()}")

        names = ("prompt", "negative_prompt", "seed", "steps", "guidance", "sampler", "strength")
        options = {name: settings[name] for name in names}
        options |= {"image": image and image[1], "mask": mask and mask[1], "size": self.size}
        try:
            with no_display():
                picture = self.pipeline(**options, callback=callback)[0]
            about = {name: settings[name] for name in names if image or name != "strength"}
            about |= {"size": list(picture.size), "model": self.model}
            about |= {k: v[0] for k, v in (("image", image), ("mask", mask)) if v}
            self.history.add((picture, settings, uploads, about))
            self.present(0)
            self.say(f"drawn in {seconds()}, seed {settings['seed']}")
        except (Stopped, KeyboardInterrupt):
            self.say(f"stopped after {seconds()}")
        except Exception as error:  # whatever it is, the panel has to live on and to say it
            self.error = error
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self.say(kind + str(error), bad=True)
        finally:
            self.ready()

    def present(self, k):
        """Show a picture of the history."""
        self.current = self.history.drawn[k]
        picture, settings, *_ = self.current
        self.picture(picture, f"Drawn for the prompt {settings['prompt']!r}")

    def back(self, k):
        """A thumbnail was pressed: its picture and its settings come back."""
        if self.busy or k >= len(self.history.drawn):
            return
        self.present(k)
        _, settings, uploads, _ = self.current
        self.start.given = dict(uploads)
        self.put(settings)
        self.keep.value = True
        self.start.look()
        self.ready()
        self.say(f"seed {settings['seed']}: its settings are back")

    def save(self, _=None):
        """Write the picture shown, with its settings inside; never over another file."""
        try:
            path = save_picture(self.current[0], self.folder, self.current[3])
        except OSError as error:
            self.say(f"cannot be saved: {error}", bad=True)
            return
        self.say(f"saved as {path}")

    def use(self, _=None):
        """Begin the next drawing with the picture shown."""
        picture, settings, *_ = self.current
        self.start.give("image", f"drawn with seed {settings['seed']}", picture)
