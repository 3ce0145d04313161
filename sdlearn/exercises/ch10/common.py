"""What exercises of chapter 10 share."""


def refuse():
    raise ValueError("refused")


NONE = "None comes back for what is to be refused: raise a ValueError there."
