"""The terms of the ELBO against torch.distributions and against draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions

from sdlearn.elbo import kl_gaussians, laplace_nll
from sdlearn.vae import DiagonalGaussian

shapes = st.sampled_from([(1, 1), (3, 5), (2, 4, 3, 3), (4, 2, 1)])
seeds = st.integers(0, 1000)


def normal(mean, logvar):
    return distributions.Normal(mean, (logvar / 2).exp())


@settings(max_examples=30, deadline=None)
@given(shapes, seeds)
def test_kl_is_torchs(shape, seed):
    torch.manual_seed(seed)
    four = [torch.randn(shape, dtype=torch.float64) for _ in range(4)]
    expected = distributions.kl_divergence(normal(*four[:2]), normal(*four[2:]))
    # Float64 keeps 16 digits; both sum the same few numbers in another form.
    torch.testing.assert_close(
        kl_gaussians(*four), expected.flatten(1).sum(dim=1), rtol=1e-10, atol=1e-10
    )


def test_kl_to_the_standard_normal_is_diagonal_gaussians():
    moments = torch.randn(3, 8, 2, 2)
    q = DiagonalGaussian(moments)
    zero = torch.zeros_like(q.mean)
    torch.testing.assert_close(kl_gaussians(q.mean, q.logvar, zero, zero), q.kl())


def test_kl_of_equals_is_zero_and_the_order_matters():
    mean, logvar = torch.randn(2, 6), torch.randn(2, 6)
    assert torch.equal(kl_gaussians(mean, logvar, mean, logvar), torch.zeros(2))
    there = kl_gaussians(mean, logvar, 0 * mean, 0 * logvar)
    back = kl_gaussians(0 * mean, 0 * logvar, mean, logvar)
    assert (there > 0).all() and (back > 0).all() and not torch.allclose(there, back)


def test_kl_is_the_mean_of_the_log_ratio():
    torch.manual_seed(0)
    four = torch.tensor([0.5, -1.0]), torch.tensor([-1.0, 0.3]), torch.zeros(2), torch.ones(2)
    q, p = normal(*four[:2]), normal(*four[2:])
    z = q.sample((200_000,))
    sampled = (q.log_prob(z) - p.log_prob(z)).sum(dim=1)
    exact = kl_gaussians(*(one[None] for one in four)).item()
    # Six standard errors of the mean.
    assert abs(sampled.mean().item() - exact) < 6 * sampled.std().item() / 200_000**0.5


def test_gradients_reach_both_distributions():
    four = [torch.randn(2, 3, requires_grad=True) for _ in range(4)]
    kl_gaussians(*four).sum().backward()
    assert all(one.grad.abs().min() > 0 for one in four)


@settings(max_examples=30, deadline=None)
@given(shapes, seeds, st.floats(0.01, 20))
def test_laplace_is_torchs(shape, seed, scale):
    torch.manual_seed(seed)
    x, mean = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    expected = -distributions.Laplace(mean, scale).log_prob(x)
    torch.testing.assert_close(
        laplace_nll(x, mean, scale), expected.flatten(1).sum(dim=1), rtol=1e-10, atol=1e-10
    )


def test_the_best_scale_is_the_mean_error():
    x, mean = torch.randn(1, 500), torch.zeros(1, 500)
    best = (x - mean).abs().mean().item()
    at = [laplace_nll(x, mean, factor * best).item() for factor in (0.9, 1.0, 1.1)]
    assert at[1] < min(at[0], at[2])


def test_the_scale_may_be_learnt():
    scale = torch.tensor(0.5, requires_grad=True)
    laplace_nll(torch.ones(2, 3), torch.zeros(2, 3), scale).sum().backward()
    # d/db (1/b + log 2b) = 1/b - 1/b² times 1/b … at b = 0.5: -4 + 2, for six numbers.
    assert scale.grad.item() == pytest.approx(-12)


@pytest.mark.parametrize("scale", [0, -0.1, float("nan"), torch.tensor([0.1, 0.0])])
def test_a_scale_of_0_or_less_is_refused(scale):
    with pytest.raises(ValueError, match="above 0"):
        laplace_nll(torch.zeros(2, 2), torch.zeros(2, 2), scale)
