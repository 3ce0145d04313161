"""The measures of quality: against closed forms, brute force, and pictures damaged on purpose."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from sdlearn import metrics
from sdlearn.data import load_emoji, to_tensor

ROOT = Path(__file__).resolve().parents[1]
FEATURES = ROOT / "data" / "checkpoints" / "features"


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_pictures(n, size=16, seed=0):
    return normal(n, 3, size, size, seed=seed, dtype=torch.float32).div(2).clamp(-1, 1)


# --- picture against picture ----------------------------------------------------------------------


def test_psnr_of_a_known_error():
    a = torch.zeros(3, 3, 8, 8)
    b = a.clone()
    b[0] += 0.2  # a tenth of the range everywhere: 20 dB
    b[1, :, :4] += 0.2  # half of the places: 10 log 2 = 3.01 dB more
    assert torch.allclose(metrics.psnr(a, b), torch.tensor([20.0, 23.0103, torch.inf]), atol=1e-3)
    assert torch.equal(metrics.psnr(a, b), metrics.psnr(b, a))


def ssim_by_hand(a, b):
    """SSIM of two pictures [C, H, W] with values from 0 to 255, one window after another."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2, values = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for x, y in zip(a, b):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                u, v = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                mu, mv = (window * u).sum(), (window * v).sum()
                su, sv = (window * (u - mu) ** 2).sum(), (window * (v - mv) ** 2).sum()
                suv = (window * (u - mu) * (v - mv)).sum()
                top = (2 * mu * mv + c1) * (2 * suv + c2)
                values.append(top / ((mu**2 + mv**2 + c1) * (su + sv + c2)))
    return np.mean(values)


def test_ssim_is_that_of_the_paper():
    a = random_pictures(3)[..., :14]  # not square: rows and columns are not to be mixed up
    b = torch.stack([a[0] * 0.5 + 0.2, a[1] + normal(3, 16, 14).float() * 0.1, -a[2]]).clamp(-1, 1)
    want = [ssim_by_hand(*((x.double().numpy() + 1) * 127.5 for x in pair)) for pair in zip(a, b)]
    have = metrics.ssim(a, b)
    assert have.shape == (3,)
    assert np.allclose(have, want, atol=1e-5)  # variances are differences of float32 numbers
    assert have[2] < 0 < have[1] < 1
    assert torch.allclose(metrics.ssim(a, a), torch.ones(3))


@pytest.mark.parametrize(
    "a, message",
    [
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "torch.uint8"),
        (torch.full((2, 3, 16, 16), 255.0), "x / 127.5 - 1"),
        (torch.full((2, 3, 16, 16), torch.nan), "nan"),
        (torch.zeros(3, 16, 16), r"\[3, 16, 16\] given"),
        (torch.zeros(0, 3, 16, 16), "no picture"),
        (np.zeros((2, 3, 16, 16)), "ndarray given"),
        (torch.zeros(2, 3, 8, 16), "differ"),
        (torch.zeros(1, 3, 16, 16), "differ"),
    ],
)
def test_what_is_no_pair_of_pictures(a, message):
    for measure in (metrics.psnr, metrics.ssim):
        with pytest.raises(ValueError, match=message):
            measure(a, torch.zeros(2, 3, 16, 16))


def test_ssim_needs_room_for_its_window():
    with pytest.raises(ValueError, match="11 × 11"):
        metrics.ssim(torch.zeros(1, 3, 10, 16), torch.zeros(1, 3, 10, 16))


def test_overshoot_is_clamped_as_saving_does():
    a, b = torch.ones(1, 3, 16, 16), torch.full((1, 3, 16, 16), 1.5)
    assert metrics.psnr(a, b).item() == float("inf") and metrics.ssim(a, b).item() == 1


# --- set against set ------------------------------------------------------------------------------


def exact_sample(n, mean, covariance, seed=0):
    """n points whose own mean and covariance are exactly these."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(dim=0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_of_diagonal_gaussians():
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 0.25]).double()
    mean = torch.tensor([1.0, 0.0, -2.0]).double()
    have = metrics.frechet_distance(
        exact_sample(50, torch.zeros(3).double(), a.diag()), exact_sample(40, mean, b.diag(), 1)
    )
    want = mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert have == pytest.approx(want.item(), rel=1e-10)


@pytest.mark.parametrize("dim", [2, 20])
def test_frechet_of_general_gaussians(dim):
    means = normal(2, dim, seed=1)
    factors = normal(2, dim, dim, seed=2)
    covariances = factors @ factors.transpose(1, 2) + 0.01 * torch.eye(dim)
    a, b = (exact_sample(100, *pair, i) for i, pair in enumerate(zip(means, covariances)))
    # Another way to the root: eigenvalues of the product itself, which is not symmetric.
    roots = np.sqrt(np.linalg.eigvals((covariances[0] @ covariances[1]).numpy()).astype(complex))
    apart = (means[0] - means[1]).square().sum()
    want = (apart + covariances.diagonal(dim1=1, dim2=2).sum()).item() - 2 * roots.sum().real
    assert metrics.frechet_distance(a, b) == pytest.approx(want, rel=1e-7)
    assert metrics.frechet_distance(b, a) == pytest.approx(want, rel=1e-7)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    # Features ten times as large are a hundred times as far apart; a shift of both changes nothing.
    assert metrics.frechet_distance(10 * a + 7, 10 * b + 7) == pytest.approx(100 * want, rel=1e-7)


def test_frechet_of_one_feature():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0], [13.0]])
    want = (9 - 1) ** 2 + (4 - 2**0.5) ** 2  # standard deviations √2 and 4
    assert metrics.frechet_distance(a, b) == pytest.approx(want)


def test_frechet_of_too_few_pictures_is_said():
    a, b = normal(6, 30), normal(6, 30, seed=1)
    with pytest.warns(UserWarning, match="6 pictures leave some of 30 features") as caught:
        have = metrics.frechet_distance(a, b)
    assert len(caught) == 1 and caught[0].filename == __file__
    # Singular covariances all the same: the root of the product by way of the 6 × 6 matrix.
    x, y = ((s - s.mean(dim=0)) / 5**0.5 for s in (a, b))
    want = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    want = (want + (a.mean(dim=0) - b.mean(dim=0)).square().sum()).item()
    assert have == pytest.approx(
        want, rel=1e-6
    )  # √1e-16 is what rounding leaves in null directions
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet_distance(normal(31, 30), normal(31, 30, seed=1))


def kernel_by_hand(a, b):
    def kernel(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    within = [
        np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (a, b)
    ]
    return sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b])


def test_kernel_distance_pair_by_pair():
    a, b = normal(7, 5), 1.5 * normal(9, 5, seed=1) + 0.3
    assert metrics.kernel_distance(a, b) == pytest.approx(kernel_by_hand(a, b), rel=1e-10)


def test_kernel_distance_in_blocks_equals_the_whole():
    a, b = normal(1001, 4), normal(2100, 4, seed=1) + 0.2
    x, y, between = ((p @ q.T / 4 + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (x, y)]
    want = (sum(within) - 2 * between.mean()).item()
    assert metrics.kernel_distance(a, b) == pytest.approx(want, rel=1e-9)


def test_kernel_distance_is_unbiased_and_frechet_is_not():
    draws = [(normal(20, 5, seed=2 * i), normal(20, 5, seed=2 * i + 1)) for i in range(300)]
    kernel = np.array([metrics.kernel_distance(a, b) for a, b in draws])
    error = kernel.std() / len(kernel) ** 0.5
    assert abs(kernel.mean()) < 4 * error
    assert (kernel < 0).mean() > 0.3
    # With the pairs of a picture with itself the mean would lie far outside.
    itself = np.mean([2 * ((a.square().sum(1) / 5 + 1) ** 3).mean().item() / 20 for a, _ in draws])
    assert itself > 20 * error
    assert np.mean([metrics.frechet_distance(a, b) for a, b in draws[:50]]) > 0.5


def test_sliced_wasserstein():
    a, b = normal(200, 3, 4), normal(200, 3, 4, seed=1)
    assert metrics.sliced_wasserstein(a, a[torch.randperm(200)]) == pytest.approx(0, abs=1e-12)
    # In one dimension there is one direction, and the answer is known: sorted, then subtracted.
    x, y = torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([[0.0], [5.0], [7.0]])
    assert metrics.sliced_wasserstein(x, y) == pytest.approx((1 + 3 + 4) / 3)
    # A shift by d moves every shadow by |d·direction|: on average √(2/(π D)) of its length, nearly.
    shift = torch.zeros(12).double()
    shift[0] = 3.0
    have = metrics.sliced_wasserstein(a, a + shift.view(3, 4), directions=20_000)
    assert have == pytest.approx(3 * (2 / (np.pi * 12)) ** 0.5, rel=0.03)
    assert metrics.sliced_wasserstein(a, b, seed=1) != metrics.sliced_wasserstein(a, b)
    assert metrics.sliced_wasserstein(a, b) == metrics.sliced_wasserstein(a, b)


@pytest.mark.parametrize(
    "a, message",
    [
        (torch.zeros(1, 4), r"first sample: \[1, 4\] given, a tensor \[2 or more"),
        (torch.zeros(4), "first sample"),
        ("features", "str given"),
        (torch.full((3, 4), torch.inf), "NaN or infinity"),
        (torch.zeros(3, 5), "numbers each"),
    ],
)
def test_what_is_no_sample(a, message):
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        with pytest.raises(ValueError, match=message):
            distance(a, torch.zeros(3, 4))
    with pytest.raises(ValueError, match="same length"):
        metrics.sliced_wasserstein(torch.zeros(3, 4), torch.zeros(2, 4))


# --- the distance and its floor -------------------------------------------------------------------


def numbered(values):
    """Pictures of one grey each, by which a test knows them again."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 16, 16) / 100


def test_floor_compares_real_with_other_real():
    calls = []

    def distance(a, b):
        calls.append([(100 * x[:, 0]).round().int().tolist() for x in (a, b)])
        return float(len(calls))

    generated, real = numbered([-1, -2, -3, -4]), numbered(list(range(10)))
    found = metrics.distance_with_floor(generated, real, distance, nn.Flatten())
    assert found == metrics.Distance(distance=1.0, floor=2.0, pictures=4)
    assert str(found) == "1 (real against real: 2; 4 each)"
    (drawn, one), (other, same) = calls
    assert drawn == [-1, -2, -3, -4] and one == same
    assert len({*one, *other}) == 8 and min(one + other) >= 0  # disjoint, all of them real
    assert one + other != list(range(8))  # shuffled: data sets are sorted
    metrics.distance_with_floor(generated, real, distance, nn.Flatten(), seed=1)
    metrics.distance_with_floor(generated, real, distance, nn.Flatten())
    assert calls[2:4] != calls[:2] == calls[4:6]


@pytest.mark.parametrize(
    "generated, real, message",
    [
        (torch.zeros(5, 3, 16, 16), torch.zeros(9, 3, 16, 16), r"need 10 real .* generated\[:4\]"),
        (torch.zeros(5, 3, 16, 16), torch.zeros(10, 3, 32, 32), "generated ones' size"),
        (torch.full((5, 3, 16, 16), torch.nan), torch.zeros(10, 3, 16, 16), "generated: .* nan"),
        (torch.zeros(5, 3, 16, 16), torch.zeros(10, 3, 16, 16).byte(), "real: torch.uint8"),
    ],
)
def test_floor_with_bad_input(generated, real, message):
    with pytest.raises(ValueError, match=message):
        metrics.distance_with_floor(generated, real)


# --- features -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    return metrics.FeatureNet.load()


@pytest.fixture(scope="module")
def real():
    """1,200 real pictures, from every part of the train split, [1200, 3, 32, 32]."""
    rows = torch.randperm(9482, generator=torch.Generator().manual_seed(0))[:1200].sort().values
    dataset = load_emoji("train", size=32)
    pictures = to_tensor(dataset.select(rows.tolist()))
    styles = np.array(dataset.data.table["style"].to_pylist())[rows.numpy()]
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(1))
    return pictures[order], styles[order.numpy()]


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_features_of_every_size(network, size):
    pictures = random_pictures(5, size)
    features = metrics.extract_features(pictures, network, batch_size=2)
    assert features.shape == (5, 128) and not features.requires_grad
    # What else is in the batch is without influence, up to the order of sums.
    assert torch.allclose(features[3:4], network(pictures[3:4]), atol=1e-4)
    assert torch.equal(features, metrics.extract_features(pictures, batch_size=2))


def test_larger_pictures_are_seen_through_their_means(network):
    pictures = random_pictures(3, 64)
    smaller = nn.functional.avg_pool2d(pictures, 2)
    assert torch.allclose(network(pictures), network(smaller), atol=1e-4)


@pytest.mark.gpu
def test_the_gpu_measures_the_same(real):
    pictures = real[0][:600]
    on_cpu = metrics.distance_with_floor(blurred(pictures[:300], 1, None), pictures)
    on_gpu = metrics.distance_with_floor(blurred(pictures[:300], 1, None).cuda(), pictures.cuda())
    # Convolutions there round to ten bits (TF32) unless told otherwise.
    assert on_gpu.distance == pytest.approx(on_cpu.distance, rel=0.02)
    assert on_gpu.floor == pytest.approx(on_cpu.floor, rel=0.02)
    mixed = metrics.distance_with_floor(pictures[:300].cuda(), pictures)  # real ones stay at home
    assert mixed.floor == pytest.approx(on_cpu.floor, rel=0.02)
    a, b = pictures[:9], pictures[9:18]
    for measure in (metrics.psnr, metrics.ssim):
        assert torch.allclose(measure(a.cuda(), b.cuda()).cpu(), measure(a, b), atol=2e-3)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 32, 16), (2, 3, 8, 8)])
def test_features_of_what_does_not_fit(network, shape):
    with pytest.raises(ValueError, match="16 pixels or more"):
        network(torch.zeros(shape))


def test_features_are_standardised(network, real):
    features = metrics.extract_features(real[0], network)
    # Over all 9,482 pictures mean 0 and variance 1; 1,200 of them are 4% of a deviation off, or so.
    assert features.mean(dim=0).abs().max() < 0.15
    assert (features.std(dim=0) - 1).abs().mean() < 0.1


def test_weights_are_small_and_say_where_they_are_from():
    assert (FEATURES / "model.safetensors").stat().st_size <= 1_500_000
    with safe_open(FEATURES / "model.safetensors", "pt") as file:
        assert file.metadata()["command"] == "python tools/train_features.py --steps 4300"
        assert json.loads(file.metadata()["losses"])[-1] < 3
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks config.json and model.safetensors"):
        metrics.FeatureNet.load(tmp_path)


@pytest.mark.parametrize("split", ["test_tone", "test_pair", "test_style"])
def test_accuracy_is_what_the_model_card_says(network, split):
    import train_features

    card = (FEATURES / "README.md").read_text(encoding="utf8")
    header = re.search(r"\| split \| (.*) \|", card)[1].split(" | ")
    row = re.search(rf"\| `{split}` \| (.*) \|", card)[1].split(" | ")
    told = {name.strip("`"): float(value.rstrip("%")) / 100 for name, value in zip(header, row)}
    found = train_features.accuracies(network, *train_features.read(split))
    assert told.keys() == found.keys()
    for name in told:  # one or two pictures may tip over on another machine; rounding adds 0.0005
        assert abs(told[name] - found[name]) < 0.01, name


def test_training_learns_and_is_deterministic(real, monkeypatch):
    import train_features

    labels = {"style": ["3d", "flat", "bold"], "concept": ["3d", "flat", "bold"]}
    heads = {"style": labels["style"], "damage": train_features.DAMAGE}
    x, columns = real[0][:128], {"style": real[1][:128], "concept": real[1][:128]}
    targets = train_features.as_numbers(columns, labels)
    monkeypatch.setattr(train_features, "BATCH", 16)
    trained = []
    for steps in (20, 20, 150):
        torch.manual_seed(0)
        network = metrics.FeatureNet([8, 12], [2, 2], heads)
        losses = train_features.train(x, targets, network, 3, steps, log=lambda *a, **k: None)
        trained.append(network.requires_grad_(False))
    assert len(losses) == 1  # of every hundredth step
    for a, b in zip(trained[0].state_dict().values(), trained[1].state_dict().values()):
        assert torch.equal(a, b)
    # The batch norms went into the convolutions: what is left knows what was learnt.
    before = network.answers(metrics.extract_features(x, network))
    assert (before["style"].argmax(dim=1) == targets["style"]).float().mean() > 0.5
    train_features.standardise(network, x)
    features = metrics.extract_features(x, network)
    after = network.answers(features)
    assert features.mean(dim=0).abs().max() < 1e-4
    assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in before)


def test_damage_that_training_does_is_the_damage_it_names():
    import train_features

    x = torch.zeros(400, 3, 32, 32)
    x[:, :, :, 16:] = 0.5  # an edge, away from the borders that white comes in from
    out, damage = train_features.augment(x, torch.Generator().manual_seed(0))
    assert out.shape == x.shape and out.abs().max() <= 1
    rough = out[:, :, 12:20, 12:20].diff(dim=2).std(dim=(1, 2, 3))  # along the edge nothing changes
    quiet = damage[:, 0] == 0
    assert rough[quiet].max() < 1e-3
    noisy = (damage[:, 0] > 0.1) & (damage[:, 0] < 0.3)  # more would be clamped
    assert (rough[noisy] / (2**0.5 * damage[noisy, 0]) - 1).abs().max() < 0.25
    impulse = torch.zeros(1, 1, 32, 32).double()
    impulse[0, 0, 16, 16] = 1
    spot = train_features.blur(impulse, torch.tensor([1.5]).double())[0, 0]
    place = torch.arange(32) - 16.0
    assert spot.sum().item() == pytest.approx(1, abs=1e-6)
    assert (spot.sum(dim=0) * place**2).sum().item() == pytest.approx(1.5**2, rel=1e-3)


# --- does the measure measure? --------------------------------------------------------------------


def blurred(x, amount, styles):
    import train_features

    return train_features.blur(x, torch.full((len(x),), float(amount))) if amount else x


def noised(x, amount, styles):
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x + amount * noise).clamp(-1, 1)


def coarsened(x, amount, styles):
    small = nn.functional.avg_pool2d(x, 2**amount)
    return nn.functional.interpolate(small, size=32, mode="nearest")


def one_style(x, amount, styles):
    """A share of the pictures gives way to others of the style "bold", those drawn twice."""
    x, bold = x.clone(), np.flatnonzero(styles == "bold")
    others = np.flatnonzero(styles != "bold")
    others = others[: round(amount * len(others))]
    x[others] = x[np.resize(bold, len(others))]
    return x


DAMAGES = {
    blurred: [0, 0.7, 1, 2],
    noised: [0, 0.15, 0.3, 0.6],  # 0.05 is lost in the spread of 600 pictures
    coarsened: [0, 1, 2, 3],
    one_style: [0, 0.4, 0.7, 1],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_more_damage_is_farther_away(real, network, damage):
    pictures, styles = real
    clean = metrics.extract_features(pictures[:600], network)
    damaged = [damage(pictures[600:], amount, styles[600:]) for amount in DAMAGES[damage]]
    features = [metrics.extract_features(x, network) for x in damaged]
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        found = [distance(f, clean) for f in features]
        assert found == sorted(found), distance
        # Above the floor from the start, and the last is more than twice as far above it.
        assert found[1] > found[0] and found[-1] > 2 * found[1] - found[0], distance


def test_the_shipped_features_read_a_generator_rightly(real):
    pictures, _ = real
    perfect = metrics.distance_with_floor(pictures[:300], pictures[300:])
    blurry = metrics.distance_with_floor(blurred(pictures[:300], 1, None), pictures[300:])
    assert perfect.pictures == 300 and perfect.floor == blurry.floor
    assert abs(perfect.distance / perfect.floor - 1) < 0.25  # ± 0.07 from one split to the next
    assert blurry.distance > 1.5 * blurry.floor
    other = metrics.distance_with_floor(
        pictures[:300], pictures[300:], metrics.sliced_wasserstein, nn.Flatten()
    )
    assert abs(other.distance / other.floor - 1) < 0.5
