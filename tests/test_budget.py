"""Memory and time are known before anything is drawn; networks take turns where room is short."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_pipeline import PROMPTS, make
from test_single_file import published as stable
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sdlearn import budget, generate, machine, turns, weights
from sdlearn.budget import Counter, at_most, costs, memory_of
from sdlearn.data import data_folder
from sdlearn.pipeline import TextToImage
from sdlearn.places import CommandError
from sdlearn.schedule import NoiseSchedule
from sdlearn.single_file import NETWORKS, clip_tokenizer
from sdlearn.turns import InTurn
from sdlearn.webui import WebUI

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def small():
    return make()


def published(name):
    """The pipeline of a published model, of shapes alone."""
    text = (data_folder("configs") / f"{name}.json").read_text(encoding="utf-8")
    unet, vae, encoder = (part["config"] for part in json.loads(text)["parts"])
    configs = {"unet": {**unet, "_class_name": "UNet2DConditionModel"}, "vae": vae}
    configs |= {"text_encoder": encoder}
    with torch.device("meta"):
        networks = [make(configs[name]) for name, make in NETWORKS.items()]
    return TextToImage(*networks, clip_tokenizer(), NoiseSchedule.scaled_linear())


def drawn(pictures):
    return [np.asarray(picture).tolist() for picture in pictures]


# --- what is counted ------------------------------------------------------------------------------


def test_operations_are_those_that_torch_counts(small):
    parts, _ = costs(small, None, 2, guidance=7.5)
    unet, vae, text = map(budget.on_meta, (small.unet, small.vae, small.text_encoder))
    z, ids = torch.empty(2, 4, 16, 16).to("meta"), small.tokenizer(4 * ["a"]).to("meta")
    t, context = torch.empty(4, device="meta").long(), text(ids)
    calls = {
        "unet": lambda: unet(torch.cat([z, z]), t, context),
        "vae": lambda: vae.decode(z),
        "text_encoder": lambda: text(ids),
    }
    for name, call in calls.items():
        with FlopCounterMode(display=False) as theirs:
            call()
        assert parts[name][2] == theirs.get_total_flops() > 0, name


def test_the_published_model_takes_what_is_known_of_it():
    """1.6 TFLOP a guided step, 859.5 + 83.7 + 123.1 million weights of four bytes."""
    parts, decodings = costs(published("1_stable-diffusion-1.5"), None, 1, guidance=7.5)
    assert parts["unet"][2] == pytest.approx(1.607e12, rel=1e-3)
    million = {name: size / 4e6 for name, (size, _, _) in parts.items()}
    expected = {"unet": 859.5, "vae": 83.65, "text_encoder": 123.06}
    assert million == pytest.approx(expected, rel=1e-3) and decodings == 1


def test_the_peak_is_of_what_lives_at_the_same_time():
    class Net(nn.Module):
        def forward(self, x):  # x: 100 numbers
            a = x * 2  # 100 more
            b = torch.cat([a, a])  # 200 more
            a = b + 1  # 200 more: 600 with x
            del b
            return a[:50].relu()  # 50 more, beside x and a

    with torch.device("meta"), Counter(Net()) as counter:
        Net()(torch.empty(100))
    assert counter.peak == 4 * 600


MEASURE = """
import sys, torch
from sdlearn.budget import counted
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL
torch.set_num_threads(1)
if sys.argv[1] == "unet":
    levels = [128, 256]
    config = {"_class_name": "UNet2DConditionModel", "block_out_channels": levels,
              "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
              "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
              "cross_attention_dim": 768, "attention_head_dim": 8, "layers_per_block": 1}
    net, ask = UNet.from_config(config), lambda f, x, t, c: f(x, t.long(), c)
    shapes = lambda n: ((2, 4, n, n), (2,), (2, 77, 768))
else:
    config = {"block_out_channels": [64, 128], "down_block_types": 2 * ["DownEncoderBlock2D"],
              "up_block_types": 2 * ["UpDecoderBlock2D"], "layers_per_block": 1}
    net, ask = AutoencoderKL.from_config(config), lambda f, z: f.decode(z)
    shapes = lambda n: ((2, 4, n, n),)
net.eval().requires_grad_(False)
counts = counted(net.to("meta"), ask, *shapes(64))[0]
net.to_empty(device="cpu")
for p in net.parameters():
    p.normal_(0, 0.02)
with torch.no_grad():
    ask(net, *(torch.rand(shape) for shape in shapes(8)))
    before = top()
    ask(net, *(torch.rand(shape) for shape in shapes(64)))
print(counts / (top() - before))
"""


# Not ru_maxrss, which counts in what the process had that started this one.
TOP = """
def top():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
"""


def run(code, *args):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TOP + code, *map(str, args)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is needed")


@linux
@pytest.mark.parametrize("name", ["unet", "vae"])
def test_the_memory_is_near_to_what_is_measured(name):
    assert 0.7 < run(MEASURE, name) < 2  # rather too much than too little


@pytest.mark.parametrize(
    "count, size, guidance", [(1, None, 1), (5, 64, 4), (2, (256, 64), 4), (9, (64, 2048), 1)]
)
def test_the_quick_bound_is_one(small, count, size, guidance):
    emoji = TextToImage.load(data_folder("checkpoints") / "emoji")
    for pipeline in (small, emoji, published("2_stable-diffusion-2.1")):
        _, activations = memory_of(pipeline, costs(pipeline, size, count, guidance)[0])
        assert activations < at_most(pipeline, size, count, guidance)


def test_as_many_pictures_are_decoded_at_once_as_is_counted(small, monkeypatch):
    seen = []
    monkeypatch.setattr(small.vae, "decode", lambda z: seen.append(len(z)) or torch.zeros(0))
    monkeypatch.setattr("sdlearn.pipeline.to_pil", lambda x: [])
    for module in ("sdlearn.pipeline", "sdlearn.budget"):
        monkeypatch.setattr(f"{module}.LARGE", 32)
    small.decode(torch.zeros(9, 4, 16, 16))
    assert len(seen) == costs(small, None, 9, 1)[1] == 3
    seen.clear()
    monkeypatch.setattr("sdlearn.pipeline.LARGE", 15)
    monkeypatch.setattr("sdlearn.budget.LARGE", 15)
    f, tile = small.vae.downscale, []
    monkeypatch.setattr(small.vae, "decode", lambda z: tile.append(z.shape) or z.new_zeros(
        len(z), 3, z.shape[2] * f, z.shape[3] * f))  # fmt: skip
    small.decode(torch.zeros(2, 4, 80, 16))  # in tiles, both pictures in each
    assert len(tile) == costs(small, (16 * f, 80 * f), 2, 1)[1] == 2
    assert set(tile) == {(2, 4, 64, 16)}


def test_huge_pictures_are_counted_by_one_tile(small):
    """As much as all tiles one after the other; and at once, however many there are."""
    side = 1024 * small.vae.downscale
    parts, count = costs(small, side, 1, 1)
    with torch.device("meta"), FlopCounterMode(display=False) as theirs:
        budget.on_meta(small.vae).decode(torch.empty(1, 4, 64, 64))
    assert parts["vae"][2] == theirs.get_total_flops() and count > 400
    assert parts["vae"][1] > 2 * 3 * side**2 * 4  # the picture, twice


def test_another_network_is_counted_anew(small):
    """What was counted before is not told of a network that has taken the place."""
    pipeline = TextToImage(*(getattr(small, name) for name in NETWORKS), small.tokenizer, None)
    before = pipeline.estimate(steps=1)
    with torch.device("meta"):
        pipeline.unet = type(small.unet).from_config(
            {**small.unet.config, "block_out_channels": [32, 64]}
        )
    pipeline.unet.to_empty(device="cpu")
    assert pipeline.estimate(steps=1).flops > 1.5 * before.flops


def test_an_estimate_in_words_and_numbers(small):
    found = small.estimate(count=3, steps=10)
    assert found.weights == sum(map(turns.bytes_of, (small.unet, small.vae, small.text_encoder)))
    assert "of weights" in str(found) and "TFLOP" in str(found) and "seconds" in str(found)
    assert found.seconds > 0
    parts, _ = costs(small, None, 3, 7.5)
    heun = small.estimate(count=3, steps=10, sampler="heun")
    assert heun.flops - found.flops == 9 * parts["unet"][2]  # asks twice, but for the last step


def test_what_does_not_fit_is_refused_with_advice(small_folder, monkeypatch, tmp_path):
    pipeline = TextToImage.load(small_folder)
    monkeypatch.setattr(pipeline, "decode", lambda *_: pytest.fail("it was drawn"))
    monkeypatch.setattr(budget, "free_bytes", lambda device: 10_000)
    with pytest.raises(MemoryError, match=r"of memory on cpu, and 0.0 MB are free: try fewer"):
        pipeline(PROMPTS, steps=2)
    with pytest.raises(MemoryError, match=r"try a smaller size, or one network in memory"):
        pipeline(PROMPTS[0], steps=2)
    in_turn = TextToImage.load(small_folder, one_at_a_time=True)
    with pytest.raises(MemoryError, match=r"try a smaller size$"):
        in_turn(PROMPTS[0], steps=2)
    with pytest.raises(CommandError, match="smaller size"):
        generate.generate(PROMPTS[0], model=str(small_folder), out=tmp_path / "x.png", steps=2)
    assert not (tmp_path / "x.png").exists()


# --- one network at a time ------------------------------------------------------------------------


def in_memory(pipeline):
    parts = {name: getattr(pipeline, name).module for name in NETWORKS}
    return {name for name, m in parts.items() if next(m.parameters()).device.type != "meta"}


@pytest.mark.parametrize("kind", [TextToImage, WebUI])
@pytest.mark.parametrize("form", ["folder", "single file"])
def test_networks_in_turn_draw_the_same(small_folder, tmp_path, kind, form):
    source, prompts = small_folder, PROMPTS
    if form == "single file":
        source, prompts = tmp_path / "model.safetensors", ["a red heart", "two blue stars"]
        stable(second=True).save(source)
    whole = kind.load(source)
    pipeline = kind.load(source, one_at_a_time=True)
    assert pipeline.prediction == whole.prediction
    seen = []

    def look(i, x0):
        seen.append(in_memory(pipeline))
        if i == 1:
            pipeline.decode(x0)  # in the midst of it the decoder takes the U-Net's place
            assert in_memory(pipeline) == {"vae"}

    asked = {"negative_prompt": "blue", "steps": 4, "guidance": 3, "seed": 5}
    if form == "single file":
        asked["size"] = 64
    got = pipeline(prompts, callback=look, **asked)
    assert drawn(got) == drawn(whole(prompts, **asked))
    assert seen == 4 * [{"unet"}] and in_memory(pipeline) == {"vae"}


def test_networks_in_turn_move_and_are_saved(small_folder, small, tmp_path):
    pipeline = TextToImage.load(small_folder, one_at_a_time=True).to(torch.float64)
    got = pipeline(PROMPTS[0], steps=3, seed=1)
    assert next(pipeline.vae.module.parameters()).dtype == torch.float64
    expected = TextToImage.load(small_folder).to(torch.float64)(PROMPTS[0], steps=3, seed=1)
    assert drawn(got) == drawn(expected)
    TextToImage.load(small_folder, one_at_a_time=True).save(tmp_path)
    for file in small_folder.rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / file.relative_to(small_folder)).read_bytes()


HELD = """
import sys, torch
from sdlearn.pipeline import TextToImage
def held():  # without the pages of files, which the system takes back when it needs them
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1e3
before = held()
pipeline = TextToImage.load(sys.argv[1], one_at_a_time=sys.argv[2] == "True")
seen = []
pipeline("a", steps=1, guidance=1, size=16, seed=0, callback=lambda i, x0: seen.append(held()))
print(seen[0] - before)
"""


@linux
def test_networks_in_turn_need_the_memory_of_the_largest(tmp_path):
    model = make()
    for name, wide in {"unet": [160, 320], "vae": [128, 384]}.items():
        with torch.device("meta"):
            config = {**getattr(model, name).config, "block_out_channels": wide}
            network = NETWORKS[name](config)
        network.to_empty(device="cpu")
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0, 0.01)
        setattr(model, name, network)
    model.save(tmp_path)
    sizes = [turns.bytes_of(network) / 1e6 for network in (model.unet, model.vae)]
    all_at_once, in_turn = run(HELD, tmp_path, False), run(HELD, tmp_path, True)
    assert min(sizes) > 30  # of megabytes: enough to be seen
    assert all_at_once - in_turn > 0.8 * sizes[1]  # the decoder is not there during the steps


def test_memory_decides_unless_told(small_folder, monkeypatch, capsys):
    sizes = [turns.bytes_of(getattr(TextToImage.load(small_folder), name)) for name in NETWORKS]
    monkeypatch.setattr(turns, "memory", lambda: (10**9, sum(sizes) + 1))
    assert isinstance(TextToImage.load(small_folder).unet, InTurn)
    assert "take turns" in capsys.readouterr().out
    assert not isinstance(TextToImage.load(small_folder, one_at_a_time=False).unet, InTurn)
    monkeypatch.setattr(turns, "memory", lambda: (10**9, max(sizes) - 1))
    with pytest.raises(MemoryError, match="its unet alone takes"):
        TextToImage.load(small_folder)
    monkeypatch.setattr(turns, "memory", lambda: (None, None))  # unknown
    assert not isinstance(TextToImage.load(small_folder).unet, InTurn)


def test_files_that_were_read_do_not_count_as_used(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    total, free = machine.memory()  # no limit
    assert 0 < free <= total
    for name, text in {
        "memory.max": "1000000",
        "memory.current": "900000",
        "memory.stat": "anon 200000\ninactive_file 500000\nactive_file 100000\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert machine.memory() == (1_000_000, 700_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory()[0] == total


# --- the Hub --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["whole", "half", "pickled"])
@pytest.mark.parametrize("half", [False, True])
def test_only_what_is_needed_is_downloaded(tmp_path, monkeypatch, stored, half):
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append(allow_patterns)
        for part in weights.NAMES:
            path = weights.weight_files(tmp_path, part)[stored]
            if path.relative_to(tmp_path).as_posix() in allow_patterns:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert weights.find_folder("somebody/model", half) == tmp_path
    assert all("unet/config.json" in patterns for patterns in asked)
    heavy = [[name for name in patterns if "diffusion_pytorch" in name] for patterns in asked]
    assert all(len(names) == 2 for names in heavy)  # of U-Net and VAE one file each, never two
    order = ["half", "whole", "pickled"] if half else ["whole", "half", "pickled"]
    assert len(asked) == order.index(stored) + 1
