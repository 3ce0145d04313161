"""Single files of Stable Diffusion: names, configurations, both directions, memory, wrong files.

The layout is held against the converters of diffusers, which read the published files.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from unittest import mock

import numpy
import pytest
import torch
from diffusers.loaders import single_file_utils as diffusers_files
from safetensors.torch import load_file, save_file
from test_pipeline import make

from sdlearn import compvis, single_file, tensors
from sdlearn.clip import CLIPTextModel
from sdlearn.compvis import OPEN_TEXT, UNET, VAE
from sdlearn.pipeline import TextToImage
from sdlearn.schedule import NoiseSchedule
from sdlearn.tensors import WeightFile
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL

ROOT = Path(__file__).resolve().parents[1]
SIZES = [32, 64, 64, 64]


def published(second=False, in_channels=4):
    """The parts of a Stable Diffusion as the course names them, of a tenth of the width."""
    torch.manual_seed(int(second))
    kinds = 3 * ["CrossAttnDownBlock2D"] + ["DownBlock2D"]
    unet = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": in_channels,
        "block_out_channels": SIZES,
        "down_block_types": kinds,
        "up_block_types": [kind.replace("Down", "Up") for kind in kinds[::-1]],
        "layers_per_block": 1,
        "attention_head_dim": [1, 1, 1, 1] if second else 8,
        "cross_attention_dim": 64,
        "use_linear_projection": second,
        "sample_size": 64,
    }
    vae = {
        "block_out_channels": 2 * [32] + 2 * [64],
        "down_block_types": 4 * ["DownEncoderBlock2D"],
        "up_block_types": 4 * ["UpDecoderBlock2D"],
        "layers_per_block": 2,
        "sample_size": 512,
    }
    text = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "hidden_act": "gelu" if second else "quick_gelu",
    }
    networks = UNet.from_config(unet), AutoencoderKL.from_config(vae)
    networks += (CLIPTextModel.from_config(text),)
    for network in networks:
        network.eval().requires_grad_(False)
    prediction = "v_prediction" if second else "epsilon"
    tokenizer = single_file.clip_tokenizer("!" if second else "<|endoftext|>")
    return TextToImage(*networks, tokenizer, NoiseSchedule.scaled_linear(), prediction)


@pytest.fixture(scope="module", params=[False, True], ids=["1.x", "2.x"])
def pipeline(request):
    return published(request.param)


@pytest.fixture(scope="module")
def first():
    return published()


@pytest.fixture
def first_file(first, tmp_path):
    first.save(tmp_path / "first.safetensors")
    return tmp_path / "first.safetensors"


def same(a, b):
    for name in ("unet", "vae", "text_encoder"):
        x, y = getattr(a, name).state_dict(), getattr(b, name).state_dict()
        assert x.keys() == y.keys()
        assert all(torch.equal(x[key], y[key]) for key in x), name
    assert (a.prediction, a.spacing, a.offset) == (b.prediction, b.spacing, b.offset)
    assert torch.equal(a.schedule.betas, b.schedule.betas)


def test_written_and_read(pipeline, tmp_path):
    pipeline.save(tmp_path / "model.safetensors")
    other = TextToImage.load(tmp_path / "model.safetensors")
    same(pipeline, other)
    for name in ("unet", "vae", "text_encoder"):
        a, b = dict(getattr(pipeline, name).config), dict(getattr(other, name).config)
        size = (
            96 if name == "unet" and pipeline.prediction == "v_prediction" else a.get("sample_size")
        )
        assert b == {**a, "sample_size": size} if "sample_size" in a else b == a
    texts = ["a cat, 3d style", ""]
    assert torch.equal(pipeline.tokenizer(texts), other.tokenizer(texts))


def test_from_layout_to_layout_bit_for_bit(pipeline, tmp_path):
    """CompVis → ours → diffusers' folder → ours → CompVis, in half precision."""
    pipeline.save(tmp_path / "a.safetensors", half=True)
    TextToImage.load(tmp_path / "a.safetensors").save(tmp_path / "folder", half=True)
    TextToImage.load(tmp_path / "folder").save(tmp_path / "b.safetensors", half=True)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_keys_are_those_that_diffusers_converts(pipeline, tmp_path):
    """Each network's tensors, as diffusers' own converters take them out of our file."""
    path = tmp_path / "model.safetensors"
    pipeline.save(path)
    file, second = load_file(path), pipeline.text_encoder.config["hidden_act"] == "gelu"
    unet, vae = dict(pipeline.unet.config), dict(pipeline.vae.config)
    found = diffusers_files.convert_ldm_unet_checkpoint(
        dict(file), {**unet, "class_embed_type": None}
    )
    check(found, pipeline.unet)
    check(diffusers_files.convert_ldm_vae_checkpoint(dict(file), vae), pipeline.vae)
    if second:
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(**pipeline.text_encoder.config)
        model = CLIPTextModel(config)
        # diffusers asks for the projection's size, which is in published files and not in ours
        file[f"{OPEN_TEXT}text_projection"] = torch.zeros(64, 64)
        found = diffusers_files.convert_open_clip_checkpoint(model, dict(file), prefix=OPEN_TEXT)
    else:
        found = diffusers_files.convert_ldm_clip_checkpoint(dict(file))
    check(found, pipeline.text_encoder)


def check(found, module):
    ours = {key.removeprefix("text_model."): x for key, x in module.state_dict().items()}
    found = {key.removeprefix("text_model."): x for key, x in found.items()}
    assert not [key for key in ours if key not in found]
    extra = [key for key in found if key not in ours]
    unused = "position_ids", "text_projection", f"layers.{module.config.get('num_hidden_layers')}."
    assert all(any(part in key for part in unused) for key in extra), extra
    for key, x in ours.items():
        assert torch.equal(found[key].reshape(x.shape), x), key


@pytest.mark.parametrize("number", (1, 2))
def test_the_configurations_of_the_published_models(number):
    """Full size, on the meta device: the shapes tell the configuration that data/configs has."""
    (path,) = (ROOT / "data" / "configs").glob(f"{number}_*.json")
    parts = {part["job"]: part["config"] for part in json.loads(path.read_text("utf-8"))["parts"]}
    second = number == 2
    text = compvis.open_text_places if second else compvis.text_places
    jobs = {
        "denoiser": (UNet.from_config, compvis.unet_places, compvis.unet_config),
        "autoencoder": (AutoencoderKL.from_config, compvis.vae_places, compvis.vae_config),
        "text": (CLIPTextModel.from_config, text, compvis.text_config),
    }
    for job, (build, places, config_of) in jobs.items():
        with torch.device("meta"):
            module = build(parts[job])
        state = module.state_dict()
        shapes = {
            place.name: compvis.their_shape(place, state[key].shape)
            for key, place in places(module).items()
        }
        if second and job == "text":  # published with the last layer, which is not used
            layers = module.config["num_hidden_layers"]
            shapes |= {
                name.replace(f"resblocks.{layers - 1}.", f"resblocks.{layers}."): shape
                for name, shape in shapes.items()
            }
        with torch.device("meta"):
            again = build(config_of(shapes, second) if job == "denoiser" else config_of(shapes))
        a, b = ({**part.config, "sample_size": None} for part in (module, again))
        assert json.dumps(a) == json.dumps({name: b[name] for name in a})
        assert a.keys() == b.keys()


def test_wrapped_pickled_and_with_everything_that_published_files_have(first, tmp_path):
    found = stored(first)
    found["first_stage_model.loss.logvar"] = torch.zeros(())
    found["model_ema.decay"] = torch.zeros(())
    found["betas"] = first.schedule.betas
    found |= {f"alphas_cumprod{end}": torch.ones(1000) for end in ("", "_prev")}
    # What a training loop of 2022 left in them: a class as a key, NumPy's numbers.
    place = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": place})
    modules = {name: types.ModuleType(name) for name in (place[:17], place[:27], place)}
    modules[place].ModelCheckpoint = callback
    more = {"callbacks": {callback: {"best_model_score": numpy.float64(0.5)}}, "epoch": 1}
    more["lr_schedulers"] = [{"base_lrs": [numpy.float64(1e-4)], "last_epoch": 7}]
    with mock.patch.dict(sys.modules, modules):
        torch.save({"state_dict": found, "global_step": 7, **more}, tmp_path / "wrapped.ckpt")
    torch.save(found, tmp_path / "bare.ckpt")
    for name in ("wrapped", "bare"):
        same(first, TextToImage.load(tmp_path / f"{name}.ckpt"))


def stored(pipeline, half=False):
    """The tensors of the single file of a pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save(Path(folder) / "model.safetensors", half)
        return {k: x.clone() for k, x in load_file(Path(folder) / "model.safetensors").items()}


def test_averaged_weights_are_taken_on_request(first, tmp_path):
    found = stored(first)
    average = {
        compvis.average_name(name): x + 1 for name, x in found.items() if name.startswith(UNET)
    }
    assert "model_ema.diffusion_modelinput_blocks00weight" in average
    save_file({**found, **average}, tmp_path / "both.safetensors")
    same(first, TextToImage.load(tmp_path / "both.safetensors"))
    other = TextToImage.load(tmp_path / "both.safetensors", ema=True)
    assert torch.equal(other.unet.conv_in.weight, first.unet.conv_in.weight + 1)
    save_file(found, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="missing"):
        TextToImage.load(tmp_path / "one.safetensors", ema=True)


def test_the_last_layer_of_openclip_is_left_out(tmp_path):
    second = published(second=True)
    found = stored(second)
    last = {name: x + 1 for name, x in found.items() if "resblocks.3." in name}
    assert last and all((x == 1).all() for x in last.values())  # the course has no weights for it
    more = {f"{OPEN_TEXT}text_projection": torch.zeros(64, 64)}
    more[f"{OPEN_TEXT}logit_scale"] = torch.zeros(())
    save_file({**found, **last, **more}, tmp_path / "model.safetensors")
    same(second, TextToImage.load(tmp_path / "model.safetensors"))


def test_half_precision_is_converted(first, tmp_path):
    first.save(tmp_path / "half.safetensors", half=True)
    file = WeightFile(tmp_path / "half.safetensors")
    assert {e.dtype for e in file.entries.values()} == {torch.float16, torch.int64}
    a, b = (
        TextToImage.load(tmp_path / "half.safetensors", dtype=d)
        for d in (torch.float32, torch.float16)
    )
    assert a.unet.conv_in.weight.dtype == torch.float32
    assert b.unet.conv_in.weight.dtype == torch.float16
    assert torch.equal(a.unet.conv_in.weight, first.unet.conv_in.weight.half().float())


# --- what a file means ----------------------------------------------------------------------------


class Answer(torch.nn.Module):
    """A U-Net that gives back its noise, or its guess at the picture."""

    def __init__(self, like, noise):
        super().__init__()
        self.config, self.conv_in, self.noise = like.config, like.conv_in, noise

    def forward(self, x, t, context):
        torch.manual_seed(1)
        other = torch.randn_like(x)
        return x + 0.1 * other if self.noise else 0.07 * x - other


def test_what_the_output_means(tmp_path, first):
    second = published(second=True)
    second.prediction = "epsilon"
    for pipeline, name in ((first, "first"), (second, "second")):
        pipeline.save(tmp_path / f"{name}.safetensors")
    one, two = (WeightFile(tmp_path / f"{name}.safetensors") for name in ("first", "second"))
    parts = second.text_encoder, second.tokenizer
    find = single_file.find_prediction
    assert find(two, Answer(second.unet, True), *parts, True) == "epsilon"
    assert find(two, Answer(second.unet, False), *parts, True) == "v_prediction"
    assert find(one, Answer(first.unet, False), *parts, False) == "epsilon"  # of 1.x there is one
    two.entries["v_pred"] = None
    assert find(two, Answer(second.unet, True), *parts, True) == "v_prediction"
    given = TextToImage.load(tmp_path / "second.safetensors", prediction="epsilon")
    assert given.prediction == "epsilon" and given.unet.config["sample_size"] == 64


def test_inpainting_models_are_recognised(tmp_path):
    published(in_channels=9).save(tmp_path / "fill.safetensors")
    model = TextToImage.load(tmp_path / "fill.safetensors")
    assert model.unet.config["in_channels"] == 9 and model.prediction == "epsilon"


def test_a_yaml_beside_the_file_is_heeded(first, tmp_path):
    first.save(tmp_path / "model.safetensors")
    notes = """
model:
  params:
    linear_start: 0.001
    linear_end: 0.02
    timesteps: 500
    parameterization: v
    scale_factor: 0.3
    image_size: 32
    unet_config: {params: {model_channels: 32, channel_mult: [1, 2, 2, 2], num_heads: 4}}
"""
    (tmp_path / "model.yaml").write_text(notes)
    model = TextToImage.load(tmp_path / "model.safetensors")
    assert model.prediction == "v_prediction" and model.vae.scaling_factor == 0.3
    assert model.unet.config["attention_head_dim"] == 4
    assert model.unet.config["sample_size"] == 32
    assert torch.equal(model.schedule.betas, NoiseSchedule.scaled_linear(500, 0.001, 0.02).betas)
    (tmp_path / "model.yaml").write_text("a: 1")
    with pytest.raises(ValueError, match=r"model.yaml is no configuration"):
        TextToImage.load(tmp_path / "model.safetensors")


def test_the_files_own_schedule(first, tmp_path):
    found = stored(first)
    betas = NoiseSchedule.linear().betas
    save_file({**found, "betas": betas}, tmp_path / "model.safetensors")
    assert torch.equal(TextToImage.load(tmp_path / "model.safetensors").schedule.betas, betas)
    save_file({**found, "ztsnr": torch.zeros(0)}, tmp_path / "zero.safetensors")
    zero = TextToImage.load(tmp_path / "zero.safetensors")
    assert zero.schedule.alphas_cumprod[-1] == 0 and zero.spacing == "trailing"


def test_the_course_brings_clips_tokenizer():
    tokenizer = single_file.clip_tokenizer()
    assert len(tokenizer) == 49408 and (tokenizer.start, tokenizer.end) == (49406, 49407)
    assert tokenizer.encode("a photo of an astronaut") == [320, 1125, 539, 550, 18376]


def test_another_tokenizer(tmp_path):
    model = make()
    first = published()
    first.tokenizer = model.tokenizer
    first.save(tmp_path / "model.safetensors")
    model.tokenizer.save(tmp_path / "own")
    with pytest.raises(ValueError, match="tokens, the text encoder"):
        TextToImage.load(tmp_path / "model.safetensors", tokenizer=tmp_path / "own")


# --- memory ---------------------------------------------------------------------------------------

PEAK = """
import resource, sys
import torch
from sdlearn.pipeline import TextToImage
from sdlearn import single_file
single_file.clip_tokenizer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = TextToImage.load(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
parts = model.unet, model.vae, model.text_encoder
size = sum(p.numel() * 4 for part in parts for p in part.parameters())
print((after - before) * 1024 / size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize("kind", ["half.safetensors", "full.safetensors", "half.ckpt", "full.ckpt"])
def test_peak_memory(kind, tmp_path, monkeypatch):
    """At most 1.2 times the weights, in whatever form the file has them."""
    torch.manual_seed(0)
    wide = {"block_out_channels": [320, 640, 640, 640], "attention_head_dim": 8}
    model = published()
    with torch.device("meta"):
        unet = UNet.from_config({**model.unet.config, **wide})
    state = {k: torch.randn(x.shape) for k, x in unet.state_dict().items()}
    unet.load_state_dict(state, assign=True)
    model.unet = unet
    path = tmp_path / kind
    half = kind.startswith("half")
    if path.suffix == ".ckpt":
        torch.save({"state_dict": stored(model, half=half)}, path)
    else:
        model.save(path, half=half)
    del model, unet, state
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.2, done.stdout


# --- wrong files ----------------------------------------------------------------------------------


class Program:
    """A pickle of it makes a folder when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_hostile_pickle_is_refused(first, tmp_path):
    torch.save(
        {"state_dict": stored(first), "more": Program(tmp_path / "run")}, tmp_path / "a.ckpt"
    )
    with pytest.raises(ValueError, match=r"asks for `(posix|nt)\.mkdir`.*refused"):
        TextToImage.load(tmp_path / "a.ckpt")
    with open(tmp_path / "b.ckpt", "wb") as file:
        pickle.dump(Program(tmp_path / "run"), file)
    with pytest.raises(ValueError, match="neither a safetensors file nor"):
        TextToImage.load(tmp_path / "b.ckpt")
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_larger_inside_is_refused(tmp_path, first_file):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "zeros.ckpt")
    old = zipfile.ZipFile(tmp_path / "zeros.ckpt")
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(ValueError, match="holds more than its size"):
        WeightFile(tmp_path / "bomb.ckpt")
    wide = stored(published())
    name = f"{UNET}input_blocks.0.0.weight"
    wide[name] = torch.zeros(1).expand(10**9, 4, 3, 3)  # 144 GB, if somebody writes them down
    torch.save(wide, tmp_path / "wide.ckpt")
    with pytest.raises(ValueError, match="holds more than its size"):
        TextToImage.load(tmp_path / "wide.ckpt")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"<html><body>404</body></html>", "is a text where weights should be"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a text where weights should be"),
        (b"\0" * 1000, "neither a safetensors file nor"),
        (b"PK\x03\x04" + b"\0" * 1000, "neither a safetensors file nor"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{" + b"\0" * 100, "damaged"),
    ],
)
@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_what_is_no_file_of_weights(content, message, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{message}|damaged"):
        TextToImage.load(tmp_path / name)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_files_that_were_cut(share, name, first, tmp_path):
    if name.endswith("ckpt"):
        torch.save(stored(first), tmp_path / name)
    else:
        first.save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="downloaded to the end|damaged"):
        TextToImage.load(tmp_path / name)


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda f: f.pop(f"{UNET}out.2.bias"), ["1 missing", "out.2.bias"]),
        (lambda f: f.pop(f"{VAE}quant_conv.weight"), ["1 missing", "quant_conv"]),
        (
            lambda f: f.update({f"{UNET}time_embed.0.bias": torch.zeros(7)}),
            ["1 of another shape", "[128]", "[7]"],
        ),
        (
            lambda f: f.update({f"{UNET}label_emb.0.0.weight": torch.zeros(7)}),
            ["1 not expected", "label_emb"],
        ),
        (
            lambda f: [f.pop(k) for k in list(f) if k.startswith(VAE)],
            ["it has no autoencoder", "a Stable Diffusion of a kind"],
        ),
        (lambda f: f.pop(f"{UNET}input_blocks.0.0.weight"), ["lacks 'input_blocks.0.0.weight'"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(damage, words, first, tmp_path):
    found = stored(first)
    damage(found)
    save_file(found, tmp_path / "model.safetensors")
    with pytest.raises(ValueError) as error:
        TextToImage.load(tmp_path / "model.safetensors")
    for word in ("model.safetensors", *words):
        assert word in str(error.value)
    assert len(str(error.value).splitlines()) < 16


@pytest.mark.parametrize(
    "names, kind",
    [
        (["conditioner.embedders.0.x", f"{UNET}input_blocks.0.0.weight"], "XL"),
        (["model.diffusion_model.joint_blocks.0.x"], "Stable Diffusion 3"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["lora_unet_down_blocks_0.lora_down.weight"], "LoRA"),
        (["control_model.input_hint_block.0.weight"], "ControlNet"),
        (["emb_params"], "textual inversion"),
        (["down_blocks.0.resnets.0.conv1.weight"], "whole folder"),
        (["first_stage_model.encoder.down.0.block.0.conv1.weight"], "autoencoder alone"),
        (["something.else"], "nothing known"),
    ],
)
def test_other_kinds_of_files_are_recognised(names, kind, tmp_path):
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=kind):
        TextToImage.load(tmp_path / "model.safetensors")


def test_models_that_a_single_file_cannot_tell_are_not_written(tmp_path):
    """Written, they would come back as others, or not at all."""
    model = make()
    with pytest.raises(ValueError, match="Save it as a folder") as error:
        model.save(tmp_path / "small.safetensors")
    assert "unet: 16 channels cannot be divided into norm_num_groups = 32" in str(error.value)
    model = published()
    model.vae.config["scaling_factor"] = 0.5
    with pytest.raises(ValueError, match="vae: scaling_factor is 0.5, not 0.18215"):
        model.save(tmp_path / "other.safetensors")
    for name, value in (("prediction", "sample"), ("spacing", "linspace")):
        model = published()
        setattr(model, name, value)
        with pytest.raises(ValueError, match=f"differs .{name} is '{value}'"):
            model.save(tmp_path / "other.safetensors")
    assert not list(tmp_path.iterdir())


def test_options_are_for_files(tmp_path):
    with pytest.raises(ValueError, match="ema: options of single files"):
        TextToImage.load(tmp_path, ema=True)


def test_dtype_of_integers_is_kept(tmp_path):
    save_file({"a": torch.arange(3), "b": torch.ones(2).half()}, tmp_path / "x.safetensors")
    found = dict(WeightFile(tmp_path / "x.safetensors").read(["a", "b"]))
    assert found["a"].dtype == torch.int64 and found["b"].dtype == torch.float32


def test_groups_of_names():
    entries = {str(k): tensors.Entry((tensors.GROUP // 16,), torch.float32) for k in range(5)}
    assert [len(g) for g in tensors.groups(entries, entries)] == [5]
    entries = {name: entry._replace(shape=(tensors.GROUP // 8,)) for name, entry in entries.items()}
    assert [len(g) for g in tensors.groups(entries, entries)] == [3, 2]
