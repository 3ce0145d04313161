"""The panel's history: the last pictures as buttons, newest first."""

import ipywidgets as w

from sdlearn.show import _bytes, _img

HISTORY = 12


class HistoryBox(w.VBox):
    """drawn: the entries, (picture, settings, uploads, what is saved of the settings) each.

    back: called with the number of the thumbnail that is pressed.
    """

    def __init__(self, back):
        super().__init__()
        self.drawn, self.css = [], w.HTML()
        hidden = {"width": "72px", "height": "72px", "display": "none"}
        self.thumbs = [w.Button(layout=hidden) for _ in range(HISTORY)]
        for k, thumb in enumerate(self.thumbs):
            thumb.add_class(f"sdlearn-{id(self)}-{k}")  # css gives it its picture
            thumb.on_click(lambda _, k=k: back(k))
        row = w.HBox(self.thumbs, layout={"flex_flow": "row wrap"})
        self.children = [self.css, row]

    def add(self, entry):
        """One more in front; the thirteenth is forgotten."""
        self.drawn = [entry, *self.drawn][:HISTORY]
        rules = []
        for k, (picture, settings, *_) in enumerate(self.drawn):
            small = picture.copy()
            small.thumbnail((144, 144))
            url = _img(_bytes(small), "A picture of the history").split('"')[-2]
            rules.append(
                f".sdlearn-{id(self)}-{k} {{ background: url({url}) center / contain no-repeat "
                "!important; image-rendering: pixelated }"
            )
            thumb = self.thumbs[k]
            thumb.tooltip = f"{settings['prompt']}, seed {settings['seed']}"
            thumb.layout.display = ""
        self.css.value = f"<style>{' '.join(rules)}</style>"
