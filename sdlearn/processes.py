"""Several processes, one training run: what `train` needs under `accelerate launch`.

Each process has the whole model and computes the gradient of its part of the batch. Then the parts
are added up, and all take the same step. With one process nothing here does anything.
"""

import os

import torch
import torch.distributed as dist


def place(device):
    """Where this process computes: its device, its number, and how many processes there are."""
    device = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return device, 0, 1
    from accelerate import PartialState  # makes the processes known to each other

    state = PartialState(cpu=device.type == "cpu")
    return state.device, state.process_index, state.num_processes


def same_start(tensors, world):
    """Give all processes the first one's tensors, in place."""
    for x in tensors if world > 1 else []:
        dist.broadcast(x.detach(), 0)


def anywhere(flag, device, world):
    """Whether the flag is true in any of the processes."""
    if world == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags)
    return bool(flags)


def add_up(loss, parameters, world):
    """The sum of all processes' losses; the gradients become their sum, in place."""
    if world == 1:
        return loss
    gradients = [p.grad for p in parameters if p.grad is not None]
    total = torch.cat([loss.reshape(1), *[x.flatten() for x in gradients]])  # one message, not many
    dist.all_reduce(total)
    for x, part in zip(gradients, total[1:].split([x.numel() for x in gradients])):
        x.copy_(part.view_as(x))
    return total[0]
