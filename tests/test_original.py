"""The course against the code that Stable Diffusion 1.x and 2.x were published with.

`python tools/fetch_original.py` fetches that code; where it is not, these tests are skipped, and
fail if CI=true. The original makes the file: its own training class, from the settings of the
published models but narrower, says what it computes, and its `state_dict` is what we open.

    SDLEARN_FULL_WIDTH=1 python -m pytest tests/test_original.py    # as wide as published: 16 GB
"""

import importlib
import os
import sys
import types
from pathlib import Path
from unittest import mock

import pytest
import torch
import transformers
from safetensors.torch import load_file

from sdlearn.pipeline import TextToImage
from sdlearn.samplers import sample
from sdlearn.single_file import clip_tokenizer

FOLDER = Path(__file__).resolve().parents[1] / "build" / "original"
FULL = os.environ.get("SDLEARN_FULL_WIDTH") == "1"
WIDTH, VAE_WIDTH, PLACES = (320, 128, 32) if FULL else (64, 32, 16)
TEXT = {False: (768, 12), True: (1024, 24)} if FULL else {False: (128, 3), True: (128, 3)}
PROMPTS = ["a photograph of an astronaut riding a horse", "café 猫 👩🏽‍🚀 isn't it?"]

# Of other packages it uses what computes nothing here: a base class, a decorator, types.
ABSENT = [
    *("pytorch_lightning", "pytorch_lightning.utilities"),
    *("pytorch_lightning.utilities.distributed", "omegaconf", "omegaconf.listconfig"),
    *("torchvision", "torchvision.ops", "torchvision.ops.misc", "torchvision.utils"),
]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the original's NumPy


class Absent(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


class LightningModule(torch.nn.Module):
    device = torch.device("cpu")


@pytest.fixture(scope="module")
def published():
    """The module with the published class, which only this file's tests can import."""
    if not (FOLDER / "ldm").is_dir():
        reason = "the published code is not here: python tools/fetch_original.py"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    for name in ("AutoModel", "CLIPTextModel", "CLIPTokenizer", "T5EncoderModel", "T5Tokenizer"):
        getattr(transformers, name)  # before torchvision seems to be there
    modules = {name: Absent(name) for name in ABSENT}
    modules["pytorch_lightning"].LightningModule = LightningModule
    modules["pytorch_lightning.utilities.distributed"].rank_zero_only = lambda function: function
    # Without its __init__, which needs torchvision for pictures.
    modules["open_clip"] = open_clip = types.ModuleType("open_clip")
    open_clip.__path__ = [str(FOLDER / "open_clip")]
    with mock.patch.dict(sys.modules, modules), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        open_clip.tokenize = importlib.import_module("open_clip.tokenizer").tokenize
        open_clip.create_model_and_transforms = open_clip_model
        yield importlib.import_module("ldm.models.diffusion.ddpm")


def open_clip_model(name, device, pretrained):
    """OpenCLIP's model with random weights: the text tower of ViT-H, any image tower."""
    width, layers = TEXT[True]
    vision = {"layers": 1, "width": 64, "patch_size": 16, "image_size": 32}
    text = {"width": width, "heads": width // 64, "layers": layers}
    model = importlib.import_module("open_clip.model").CLIP(width, vision, text)
    return model, None, None


def clip_folder(path):
    """CLIP's text encoder with random weights, as `from_pretrained` opens it."""
    width, layers = TEXT[False]
    config = transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
    )
    transformers.CLIPTextModel(config).save_pretrained(path)
    clip_tokenizer().save(path)
    return str(path)


def original(published, second, folder):
    """The published class with random weights, from v1-inference.yaml or v2-inference-v.yaml."""
    unet = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": WIDTH,
        "attention_resolutions": [4, 2, 1],
        "num_res_blocks": 2,
        "channel_mult": [1, 2, 4, 4],
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": TEXT[second][0],
        "legacy": False,
    }
    unet |= {"num_head_channels": 64, "use_linear_in_transformer": True} if second else {}
    unet |= {} if second else {"num_heads": 8}
    vae = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": VAE_WIDTH,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    first_stage = {"embed_dim": 4, "ddconfig": vae, "lossconfig": {"target": "torch.nn.Identity"}}
    encoders = "ldm.modules.encoders.modules."
    text = {"target": f"{encoders}FrozenCLIPEmbedder"}
    text["params"] = {"version": folder, "device": "cpu"}
    if second:
        text = {"target": f"{encoders}FrozenOpenCLIPEmbedder"}
        text["params"] = {"layer": "penultimate", "device": "cpu"}
    model = published.LatentDiffusion(
        first_stage_config={
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": first_stage,
        },
        cond_stage_config=text,
        unet_config={
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": unet,
        },
        linear_start=0.00085,
        linear_end=0.0120,
        timesteps=1000,
        conditioning_key="crossattn",
        scale_factor=0.18215,
        parameterization="v" if second else "eps",
        use_ema=False,
    )
    for name, x in model.named_parameters():
        # The original sets whole layers to zero; and norms, biases have to count too.
        if x.dim() < 2 or not x.any():
            shift = 1.0 if name.endswith("weight") and x.dim() == 1 else 0.0
            torch.nn.init.normal_(x.data, shift, 0.1 if x.dim() < 2 else x[0].numel() ** -0.5)
    return model.eval().requires_grad_(False)


def tensors_of(model):
    """Its `state_dict`, with the names that transformers 4 gave to the text encoder's parts."""
    prefix, part = "cond_stage_model.transformer.", "text_model."
    return {
        f"{prefix}{part}{name.removeprefix(prefix).removeprefix(part)}"
        if name.startswith(prefix)
        else name: x
        for name, x in model.state_dict().items()
    }


@pytest.fixture(scope="module", params=[False, True], ids=["1.x", "2.x"])
def pair(request, published, tmp_path_factory):
    """The original model, and ours from the file that it makes."""
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("original")
    theirs = original(published, request.param, clip_folder(folder / "clip"))
    torch.save({"state_dict": tensors_of(theirs), "global_step": 470000}, folder / "model.ckpt")
    return theirs, TextToImage.load(folder / "model.ckpt", one_at_a_time=False)


def close(ours, theirs, limit=1e-5):
    """The largest difference, as a share of the largest number."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01 * theirs.abs().max()
    assert (ours - theirs).abs().max() <= limit * theirs.abs().max()


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(8))


def context(ours, texts):
    return ours.text_encoder(ours.tokenizer(texts))


@torch.no_grad()
def test_text(pair):
    """Tokens and states, of 2.x without the last layer; "" is what guidance goes away from."""
    theirs, ours = pair
    close(context(ours, [*PROMPTS, ""]), theirs.get_learned_conditioning([*PROMPTS, ""]))


@torch.no_grad()
def test_unet(pair):
    theirs, ours = pair
    x, t = noise(2, 4, PLACES, PLACES + 8), torch.tensor([981, 1])
    text = theirs.get_learned_conditioning(PROMPTS)
    close(ours.unet(x, t, text), theirs.apply_model(x, t, text))


@torch.no_grad()
def test_vae(pair):
    theirs, ours = pair
    pictures = noise(1, 3, 8 * PLACES, 8 * PLACES + 64).clamp(-1, 1)
    told, found = theirs.encode_first_stage(pictures), ours.vae.encode(pictures)
    close(found.mean, told.mean)
    close(found.std, told.std)
    latents = noise(1, 4, PLACES, PLACES + 8)
    close(ours.vae.decode(latents / 0.18215), theirs.decode_first_stage(latents))
    close(ours.encode(pictures), theirs.get_first_stage_encoding(told.mode()))


def test_schedule(pair):
    theirs, ours = pair
    close(ours.schedule.betas, theirs.betas, 1e-6)
    close(ours.schedule.alphas_cumprod, theirs.alphas_cumprod, 1e-6)
    assert ours.prediction == {"eps": "epsilon", "v": "v_prediction"}[theirs.parameterization]


@torch.no_grad()
@pytest.mark.parametrize("steps", [4] if FULL else [4, 10])
def test_latents_with_guidance(steps, pair, tmp_path):
    """DDIM as published, from its own class, with guidance 7.5; also through diffusers' layout."""
    theirs, ours = pair
    shape = 4, PLACES, PLACES
    sampler = importlib.import_module("ldm.models.diffusion.ddim").DDIMSampler(theirs)
    told, _ = sampler.sample(
        steps,
        2,
        shape,
        theirs.get_learned_conditioning(PROMPTS),
        verbose=False,
        x_T=noise(2, *shape),
        unconditional_guidance_scale=7.5,
        unconditional_conditioning=theirs.get_learned_conditioning(["", ""]),
    )
    models = [ours]
    if not FULL:
        ours.save(tmp_path / "folder")
        models.append(TextToImage.load(tmp_path / "folder"))
    for model in models:
        answer = model.guided(PROMPTS, [""], 7.5)
        how = "ddim", steps, model.prediction, model.spacing, model.offset
        close(sample(answer, noise(2, *shape), model.schedule, *how), told, 1e-4)


def test_their_class_opens_our_file(pair, tmp_path):
    """Each tensor that drawing needs comes back bit for bit, under the published name."""
    theirs, ours = pair
    ours.save(tmp_path / "model.safetensors")
    written, told = load_file(tmp_path / "model.safetensors"), tensors_of(theirs)
    # Not used for drawing: what OpenCLIP compares with pictures, and the layer that 2.x leaves out.
    last = f"transformer.resblocks.{TEXT[True][1] - 1}."
    unused = (last, "text_projection", "logit_scale", "position_ids", "v_pred")
    same = {name for name in told.keys() & written.keys() if torch.equal(told[name], written[name])}
    for name in (told.keys() | written.keys()) - same:
        of_training = name in told and "." not in name  # the schedule
        assert of_training or any(part in name for part in unused), name
