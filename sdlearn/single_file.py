"""Stable Diffusion in a single file: read into our networks, and written (chapter 12 builds it)."""

import gzip
from pathlib import Path

import torch

from sdlearn import checkpoint, compvis, tensors
from sdlearn.clip import CLIPTextModel, Tokenizer
from sdlearn.compvis import OPEN_TEXT, TEXT, UNET, VAE
from sdlearn.data import data_folder
from sdlearn.schedule import NoiseSchedule
from sdlearn.tokenizer import END, SYMBOLS
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL

# Tensors in a file that drawing does not need, by how their names begin.
UNUSED = (f"{VAE}loss.", f"{OPEN_TEXT}logit_scale", f"{OPEN_TEXT}text_projection")
UNUSED += (f"{OPEN_TEXT}attn_mask", f"{TEXT}text_model.embeddings.position_ids")


def read(path, dtype=torch.float32, tokenizer=None, prediction=None, ema=False, settings=None):
    """What `TextToImage` is made of, from a single file of Stable Diffusion 1.x or 2.x.

    tokenizer: a folder with one; else the one beside the file, else CLIP's. prediction: what the
    U-Net's output means, found out unless given. ema: take the averaged weights. settings: what
    is to be otherwise in a network's configuration, such as {"unet": {"attention_head_dim": 4}}.
    Raises FileNotFoundError, or ValueError that says what the file is or what does not fit.
    """
    file = tensors.WeightFile(path)
    needed = {"U-Net": (UNET,), "autoencoder": (VAE,), "text encoder": (TEXT, OPEN_TEXT)}
    for what, prefixes in needed.items():
        if not any(name.startswith(prefixes) for name in file.entries):
            raise ValueError(
                f"{path} is no single file of Stable Diffusion 1.x or 2.x: it has no {what} "
                f"({' or '.join(p + '*' for p in prefixes)}). It looks like "
                f"{tensors.kind_of(file.entries)}"
            )
    second = any(name.startswith(OPEN_TEXT) for name in file.entries)
    notes = read_notes(Path(path).with_suffix(".yaml"))
    more = {name: {**notes.get(name, {}), **(settings or {}).get(name, {})} for name in FAMILIES}
    text = OPEN_TEXT if second else TEXT
    try:
        configs = {
            "unet": compvis.unet_config(shapes_of(file, UNET), second),
            "vae": compvis.vae_config(shapes_of(file, VAE)),
            "text_encoder": compvis.text_config(shapes_of(file, text)),
        }
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} lacks {error}, or it has another form than expected. It looks like "
            f"{tensors.kind_of(file.entries)}"
        ) from error
    built = {}
    for name, config in configs.items():
        make, places_of = FAMILIES[name][second]
        with torch.device("meta"):
            module = make({**config, **more[name]})
        prefix = {"unet": UNET, "vae": VAE, "text_encoder": text}[name]
        built[name] = fill(module, places_of(module), file, prefix, dtype, ema)
    vocabulary = find_tokenizer(path, tokenizer, second)
    if len(vocabulary) != built["text_encoder"].config["vocab_size"]:
        raise ValueError(
            f"the tokenizer has {len(vocabulary)} tokens, the text encoder of {path} "
            f"{built['text_encoder'].config['vocab_size']}: give its own, tokenizer=FOLDER"
        )
    prediction = prediction or notes.get("prediction")
    if prediction is None:
        prediction = find_prediction(file, built["unet"], built["text_encoder"], vocabulary, second)
    if second and prediction == "v_prediction" and "sample_size" not in more["unet"]:
        built["unet"].config["sample_size"] = 96  # such models were trained on 768 × 768 pixels
    schedule = read_schedule(file, notes)
    zero = bool(schedule.alphas_cumprod[-1] == 0)
    return *built.values(), vocabulary, schedule, prediction, "trailing" if zero else "leading", 1


def shapes_of(file, prefix):
    return {
        name.removeprefix(prefix): entry.shape
        for name, entry in file.entries.items()
        if name.startswith(prefix)
    }


FAMILIES = {  # how each network is made and named: in 1.x, in 2.x
    "unet": 2 * [(UNet.from_config, compvis.unet_places)],
    "vae": 2 * [(AutoencoderKL.from_config, compvis.vae_places)],
    "text_encoder": [
        (CLIPTextModel.from_config, compvis.text_places),
        (CLIPTextModel.from_config, compvis.open_text_places),
    ],
}


def fill(module, places, file, prefix, dtype, ema=False):
    """The module, made on the meta device, with its tensors from the file. Returns it, frozen."""
    shapes = {key: tuple(x.shape) for key, x in module.state_dict().items()}
    wanted = {}  # {their name: our keys with their places}: thirds share one
    for key, place in places.items():
        name = prefix + place.name
        if ema and prefix == UNET:
            name = compvis.average_name(name)
        wanted.setdefault(name, []).append((key, place))
    expected = {
        name: compvis.their_shape(keys[0][1], shapes[keys[0][0]]) for name, keys in wanted.items()
    }
    surplus = [] if ema else [n for n in file.entries if n.startswith(prefix) and n not in expected]
    surplus = [n for n in surplus if not n.startswith(UNUSED) and not beyond(n, module)]
    tensors.check_fit(file, expected, surplus)
    found = {}
    for name, x in file.read(wanted, dtype):
        for key, place in wanted[name]:
            found[key] = compvis.ours(x, place)
    module.load_state_dict(found, assign=True)
    return module.eval().requires_grad_(False)


def beyond(name, module):
    """Whether it is of the last layer of OpenCLIP's encoder, which 2.x was trained without."""
    last = module.config.get("num_hidden_layers")
    return last is not None and name.startswith(f"{OPEN_TEXT}transformer.resblocks.{last}.")


def find_tokenizer(path, folder, second):
    """The tokenizer in a folder, or beside a file, or CLIP's. 2.x fills up with "!" (number 0)."""
    pad = "!" if second else END
    beside = Path(path).parent
    for place in (folder, beside, beside / "tokenizer"):
        if place is not None and (place == folder or (Path(place) / "merges.txt").is_file()):
            found = Tokenizer.load(place)
            return Tokenizer(found.vocab, found.merges, found.length, pad)
    return clip_tokenizer(pad)


def clip_tokenizer(pad=END):
    """CLIP's own tokenizer, of 49,408 tokens, which comes with the course."""
    with gzip.open(data_folder("clip") / "merges.txt.gz", "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().splitlines()[1:]]
    symbols = [*SYMBOLS.values(), *(symbol + "</w>" for symbol in SYMBOLS.values())]
    tokens = [*symbols, *map("".join, merges), "<|startoftext|>", END]
    return Tokenizer({token: number for number, token in enumerate(tokens)}, merges, pad=pad)


def read_notes(path):
    """What a `.yaml` beside the file says of the networks, if there is one: CompVis' own form."""
    if not path.is_file():
        return {}
    import yaml

    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        unet = params["unet_config"]["params"]
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no configuration of CompVis' form: {error!r}") from error
    notes = {"unet": {}, "vae": {}}
    sizes = [unet["model_channels"] * factor for factor in unet["channel_mult"]]
    if unet.get("num_head_channels", -1) > 0:
        heads = [max(1, size // unet["num_head_channels"]) for size in sizes]
        notes["unet"]["attention_head_dim"] = heads
    elif unet.get("num_heads", -1) > 0:
        notes["unet"]["attention_head_dim"] = unet["num_heads"]
    if "image_size" in params:
        notes["unet"]["sample_size"] = params["image_size"]
    if "scale_factor" in params:
        notes["vae"]["scaling_factor"] = params["scale_factor"]
    notes["prediction"] = {"v": "v_prediction", "eps": "epsilon", "x0": "sample"}[
        params.get("parameterization", "eps")
    ]
    ends = params.get("linear_start"), params.get("linear_end")
    if None not in ends:
        notes["schedule"] = NoiseSchedule.scaled_linear(params.get("timesteps", 1000), *ends)
    return notes


def read_schedule(file, notes):
    """The noise schedule: the file's own numbers, its yaml's, or Stable Diffusion's."""
    schedule = notes.get("schedule") or NoiseSchedule.scaled_linear()
    if "betas" in file.entries:
        betas = dict(file.read(["betas"]))["betas"]
        if len(betas) != len(schedule) or not torch.allclose(betas, schedule.betas, rtol=1e-3):
            schedule = NoiseSchedule(betas)
    return schedule.with_zero_terminal_snr() if "ztsnr" in file.entries else schedule


@torch.no_grad()
def find_prediction(file, unet, text, tokenizer, second):
    """What the U-Net's output means: "epsilon" or "v_prediction".

    1.x predicts the noise. Of 2.x there are both kinds, in files that are alike but for their
    numbers. So it is asked: from an input that is nearly all noise, one that predicts the noise
    gives it back; one that predicts v gives (minus) its guess at the picture, which is no noise.
    """
    channels = unet.config["out_channels"]
    if "v_pred" in file.entries:
        return "v_prediction"
    if not second or unet.config["in_channels"] != channels:
        return "epsilon"
    size = 2 ** (len(unet.config["block_out_channels"]) + 1)
    x = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    weight = unet.conv_in.weight
    output = unet(x.to(weight), torch.tensor([999]), text(tokenizer("")))
    alike = torch.corrcoef(torch.stack([x.flatten(), output.float().flatten()]))[0, 1]
    return "epsilon" if alike > 0.5 else "v_prediction"


def write(path, pipeline, half=False):
    """A pipeline as a single `.safetensors` file in CompVis' layout (Stability's, for 2.x).

    Which of the two goes by the text encoder: OpenCLIP's has exact GELUs, OpenAI's quick ones.
    What the file cannot tell, such as another scaling factor, `read` has to be told.
    """
    second = pipeline.text_encoder.config["hidden_act"] == "gelu"
    prefixes = {"unet": UNET, "vae": VAE, "text_encoder": OPEN_TEXT if second else TEXT}
    found = {}
    for name, prefix in prefixes.items():
        module = getattr(pipeline, name)
        places = FAMILIES[name][second][1](module)
        found |= compvis.theirs(module.state_dict(), places, prefix)
    if second:  # readers expect the layer that is not used: of zeros, it would change nothing
        last = pipeline.text_encoder.config["num_hidden_layers"]
        block = f"{OPEN_TEXT}transformer.resblocks."
        names = [name for name in found if name.startswith(f"{block}{last - 1}.")]
        found |= {
            name.replace(f"{block}{last - 1}.", f"{block}{last}."): torch.zeros_like(found[name])
            for name in names
        }
    if half:
        found = {name: x.half() for name, x in found.items()}
    if not second:  # CompVis' own code wants it
        places = pipeline.text_encoder.config["max_position_embeddings"]
        found[f"{TEXT}text_model.embeddings.position_ids"] = torch.arange(places)[None]
    default = NoiseSchedule.scaled_linear()
    betas = pipeline.schedule.betas.cpu()
    if len(betas) != len(default) or not torch.allclose(betas, default.betas, rtol=1e-3):
        found["betas"] = betas
    if second and pipeline.prediction == "v_prediction":
        found["v_pred"] = torch.zeros(0)  # as others mark such files
    checkpoint.write(Path(path), found, {"format": "pt"})
