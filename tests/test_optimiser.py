"""AdamW, step by step, against torch's own."""

import pytest
import torch

from sdlearn.optimiser import adamw_step

SETTINGS = [
    {},  # both have the same defaults
    {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-2, "weight_decay": 0.3},
    {"lr": 3e-3, "betas": (0.9, 0.99), "weight_decay": 0.0},
    {"betas": (0.0, 0.0)},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_twenty_steps_equal_torch(settings):
    torch.manual_seed(0)
    p = torch.randn(5, 3, dtype=torch.float64)
    theirs = torch.nn.Parameter(p.clone())
    optimiser = torch.optim.AdamW([theirs], **settings)
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    for step in range(1, 21):
        # Gradients of very different sizes, some of them 0: where Adam differs from plain descent.
        grad = torch.randn_like(p) * torch.tensor([1e-6, 1.0, 100.0]) * (torch.rand_like(p) > 0.2)
        theirs.grad = grad.clone()
        optimiser.step()
        p, m, v = adamw_step(p, grad, m, v, step, **settings)
        # Float64 keeps 16 digits; the order of the products differs.
        torch.testing.assert_close(p, theirs.detach(), rtol=1e-12, atol=1e-14)


def test_nothing_is_changed_in_place():
    given = [torch.ones(3) for _ in range(4)]
    adamw_step(*given, step=1)
    assert all(torch.equal(x, torch.ones(3)) for x in given)


def test_the_first_step_is_as_long_as_the_learning_rate():
    grad = torch.tensor([1e-3, -1e3])
    p, _, _ = adamw_step(torch.zeros(2), grad, torch.zeros(2), torch.zeros(2), step=1, lr=0.1)
    torch.testing.assert_close(p, torch.tensor([-0.1, 0.1]))


def test_step_zero_is_refused():
    with pytest.raises(ValueError, match="the first step is 1"):
        adamw_step(*[torch.ones(1) for _ in range(4)], step=0)
