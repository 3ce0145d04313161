"""What pictures cost, before they are drawn: memory and time, from shapes alone (chapter 12)."""

import functools
import time
import weakref
from collections import namedtuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from sdlearn.machine import memory
from sdlearn.turns import InTurn, amount, bytes_of
from sdlearn.vae import LARGE, decode_tiled, tiles

# Convolutions copy what they are given into an order of their own: networks of Stable Diffusion's
# widths were seen to take 1.6 to 2.1 times the memory of their results.
KERNELS = 2


class Estimate(namedtuple("Estimate", ["weights", "activations", "flops", "seconds"])):
    """weights, activations: bytes that are in memory at the same time, at most; the second is what
    layers compute, and what their kernels need beside. flops: operations of matrix products and
    convolutions. seconds: at the speed of a large matrix product on this device, so small networks
    take longer."""

    def __str__(self):
        length, unit = (60, "minutes") if self.seconds > 100 else (1, "seconds")
        return (
            f"{amount(self.weights)} of weights and {amount(self.activations)} of activations; "
            f"{self.flops / 1e12:.3g} TFLOP, {self.seconds / length:.2g} {unit} or more"
        )


class Counter(TorchFunctionMode):
    """Inside this block: the operations of what a module on the meta device is asked to do, and
    the largest number of bytes that its results take at one time (`flops`, `peak`)."""

    def __init__(self, module):
        super().__init__()
        self.flops = self.peak = 0
        self.weights = {x.untyped_storage() for x in module.state_dict().values()}
        self.alive = weakref.WeakKeyDictionary()  # {storage of a result: bytes}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:  # its q kᵀ is never in memory as a whole
            q, k = args[:2]
            result = torch.empty_like(q)
            self.flops += 4 * q.numel() * k.shape[-2]
        else:
            result = function(*args, **(kwargs or {}))
        if function in (F.linear, F.conv2d, torch.conv2d):
            self.flops += 2 * result.numel() * args[1][0].numel()
        for x in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(x, torch.Tensor) and (storage := x.untyped_storage()) not in self.weights:
                self.alive[storage] = storage.nbytes()
                self.peak = max(self.peak, sum(self.alive.values()))
        return result


def on_meta(network):
    """The shapes of a network, without numbers."""
    network = network.module if isinstance(network, InTurn) else network
    dtype = next(network.parameters()).dtype
    with torch.device("meta"):
        return type(network).from_config(network.config).to(dtype).eval().requires_grad_(False)


@torch.no_grad()
def counted(network, ask, *shapes):
    """Bytes of activations and operations of ask(network, tensors of these shapes)."""
    dtype = next(network.parameters()).dtype
    with torch.device("meta"), Counter(network) as counter:
        ask(network, *(torch.empty(shape, dtype=dtype) for shape in shapes))
    return KERNELS * counter.peak, counter.flops


@functools.cache
def speed(device, dtype):
    """Operations a second of a large matrix product, the best of three."""
    n = 768 if device.type == "cpu" else 8192
    a = torch.randn(n, n, device=device, dtype=dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times[1:])


def costs(pipeline, size, count, guidance):
    """{name of a network: (bytes of its weights, of its activations, operations of a call)}, and
    how many calls of the decoder there are."""
    height, width = pipeline.latent_size(size)
    rows = count if guidance == 1 else 2 * count
    unet, vae, text = map(on_meta, (pipeline.unet, pipeline.vae, pipeline.text_encoder))
    length, depth = (text.config[k] for k in ("max_position_embeddings", "hidden_size"))
    # As in TextToImage.decode: large pictures in tiles, all together, and small ones in parts.
    h, w, at_once, out = height, width, min(count, max(1, LARGE**2 // (height * width))), 0
    decodings = -(-count // at_once)
    if max(height, width) > LARGE:
        tile, overlap = decode_tiled.__defaults__
        h, w, at_once = min(height, tile), min(width, tile), count
        decodings = len(tiles(height, width, tile, overlap))
        pixels = count * height * width * vae.downscale**2
        out = 2 * vae.config["out_channels"] * pixels * next(vae.parameters()).dtype.itemsize
    asked = {
        "unet": (
            unet,
            lambda network, x, t, context: network(x, t.long(), context),
            (rows, unet.config["in_channels"], height, width),
            (rows,),
            (rows, length, depth),
        ),
        "vae": (
            vae,
            type(vae).decode,
            (at_once, vae.config["latent_channels"], h, w),
        ),
        "text_encoder": (text, lambda network, ids: network(ids.long()), (rows, length)),
    }
    parts = {name: (bytes_of(how[0]), *counted(*how)) for name, how in asked.items()}
    size, results, flops = parts["vae"]
    return {**parts, "vae": (size, results + out, flops)}, decodings


def at_most(pipeline, size, count, guidance):
    """Bytes that the activations certainly do not exceed."""
    height, width = pipeline.latent_size(size)
    places = count * (1 if guidance == 1 else 2) * height * width
    channels = sum(pipeline.unet.config["block_out_channels"])
    pixels = count * height * width * pipeline.vae.downscale**2
    if max(height, width) <= LARGE:
        pixels = min(pixels, LARGE**2 * pipeline.vae.downscale**2)
    inside = sum(pipeline.vae.config["block_out_channels"])
    numbers = 8 * max(places * channels, pixels * inside)
    return KERNELS * numbers * pipeline.unet.conv_in.weight.dtype.itemsize


def memory_of(pipeline, parts):
    """Bytes of weights and of activations that are in memory at the same time, at most."""
    if isinstance(pipeline.unet, InTurn):
        return max(((w, a) for w, a, _ in parts.values()), key=sum)
    return sum(w for w, _, _ in parts.values()), max(a for _, a, _ in parts.values())


def estimate(pipeline, size, count, steps, guidance, sampler):
    """The `Estimate` of drawing `count` pictures at once (see TextToImage.__call__)."""
    parts, decodings = costs(pipeline, size, count, guidance)
    calls = {"unet": 2 * steps - 1 if sampler == "heun" else steps, "vae": decodings}
    flops = sum(calls.get(name, 1) * flops for name, (_, _, flops) in parts.items())
    weight = pipeline.unet.conv_in.weight
    seconds = flops / speed(weight.device, weight.dtype)
    return Estimate(*memory_of(pipeline, parts), flops, seconds)


def check_room(pipeline, size, count, guidance):
    """Raises MemoryError, with advice, if what is to be drawn needs more memory than is free."""
    weight, in_turn = pipeline.unet.conv_in.weight, isinstance(pipeline.unet, InTurn)
    free = free_bytes(weight.device)
    if free is None or (not in_turn and at_most(pipeline, size, count, guidance) < free):
        return  # counting takes its time, and is not needed far from the limit
    weights, activations = memory_of(pipeline, costs(pipeline, size, count, guidance)[0])
    now = pipeline.unet.turns.get("now") if in_turn else None
    held = weights if not in_turn else bytes_of(now.module) if now else 0
    needed = activations + weights - held
    if needed <= free:
        return
    advice = ["a smaller size"]
    if count > 1:
        advice.insert(0, "fewer pictures at once")
    if weight.device.type == "cuda" and weight.dtype == torch.float32:
        advice.append("half precision (load(..., dtype=torch.float16))")
    if not in_turn and weights > needed / 10:
        advice.append("one network in memory at a time (load(..., one_at_a_time=True))")
    raise MemoryError(
        f"this takes {amount(needed)} of memory on {weight.device}, and {amount(free)} are free: "
        f"try {', or '.join(advice)}"
    )


def free_bytes(device):
    """Free memory where a device has its tensors, or None if unknown."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return memory()[1]
