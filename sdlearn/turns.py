"""Networks that take turns in the memory, where there is not room for all (chapter 12)."""

from types import SimpleNamespace

import torch

from sdlearn.machine import memory

ROOM = 0.8  # how much of the free memory weights may take


class InTurn:
    """A network that is in memory from its first use until another one's, and then again.

    module: on the meta device, shapes without numbers. fill: a function that reads its weights into
    it. turns: a dict that all networks share which are not to be in memory together.
    """

    def __init__(self, module, fill, turns):
        self.module, self.fill, self.turns = module, fill, turns
        self.config, self.wanted = module.config, [next(module.parameters()).dtype]

    def fetch(self):
        """The network itself, with its weights."""
        other = self.turns.get("now")
        if other is not self:
            if other is not None:
                other.module.to("meta")  # forgets the numbers
            self.turns["now"] = None  # in case of an error
            self.fill()
            for place in self.wanted:
                self.module.to(place)
            self.turns["now"] = self
        return self.module

    def to(self, device_or_dtype):
        """Where, or in what dtype, it is from now on."""
        self.wanted.append(device_or_dtype)
        if self.turns.get("now") is self:
            self.module.to(device_or_dtype)
        return self

    @property
    def conv_in(self):
        """An empty weight that tells device and dtype, for which nothing has to be read."""
        like = torch.empty(0)
        for place in self.wanted:
            like = like.to(place)
        return SimpleNamespace(weight=like)

    def __call__(self, *args, **options):
        return self.fetch()(*args, **options)

    def __getattr__(self, name):
        if name in ("downscale", "scaling_factor"):  # known without the weights
            return getattr(self.module, name)
        return getattr(self.fetch(), name)


def arrange(parts, source, one_at_a_time=None):
    """The networks of {name: (module on the meta device, fill)}, filled or `InTurn`, in a list.

    one_at_a_time: in turns; None: if the memory has not room for all. Raises MemoryError if it has
    no room for the largest.
    """
    sizes = {name: bytes_of(module) for name, (module, _) in parts.items()}
    _, free = memory()
    if free is not None and max(sizes.values()) > free:
        name = max(sizes, key=sizes.get)
        raise MemoryError(
            f"{source} does not fit: its {name} alone takes {amount(sizes[name])}, and "
            f"{amount(free)} of memory are free. Close other programs and notebooks, or use a "
            "machine with more"
        )
    if one_at_a_time is None:
        one_at_a_time = free is not None and sum(sizes.values()) > ROOM * free
        if one_at_a_time:
            print(
                f"{amount(sum(sizes.values()))} of weights for {amount(free)} of free memory: the "
                "networks take turns in it. That costs time, for each is read anew"
            )
    if one_at_a_time:
        turns = {}
        return [InTurn(module, fill, turns) for module, fill in parts.values()]
    for _, fill in parts.values():
        fill()
    return [module for module, _ in parts.values()]


def bytes_of(module):
    """How many bytes its weights take, or would take in memory."""
    return sum(x.numel() * x.dtype.itemsize for x in module.state_dict().values())


def amount(size):
    """So many bytes, as a reader wants to know it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
