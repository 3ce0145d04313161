"""Stable Diffusion in a single file: read into our networks, and written (chapter 12 builds it)."""

import gzip
from pathlib import Path

import torch

from sdlearn import checkpoint, compvis, tensors, turns
from sdlearn.clip import CLIPTextModel, Tokenizer
from sdlearn.compvis import OPEN_TEXT, TEXT, UNET, VAE
from sdlearn.data import data_folder
from sdlearn.schedule import NoiseSchedule
from sdlearn.tokenizer import ALPHABET, END, START
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL

NETWORKS = {
    "unet": UNet.from_config,
    "vae": AutoencoderKL.from_config,
    "text_encoder": CLIPTextModel.from_config,
}
SPACING, OFFSET = "leading", 1  # Stable Diffusion's timesteps
# Tensors in a file that drawing does not need, by how their names begin.
UNUSED = (f"{VAE}loss.", f"{OPEN_TEXT}logit_scale", f"{OPEN_TEXT}text_projection")
UNUSED += (f"{OPEN_TEXT}attn_mask", f"{TEXT}text_model.embeddings.position_ids")


def read(
    path,
    dtype=torch.float32,
    one_at_a_time=None,
    tokenizer=None,
    prediction=None,
    ema=False,
    settings=None,
):
    """What `TextToImage` is made of, from a single file of Stable Diffusion 1.x or 2.x.

    one_at_a_time: see `turns.arrange`. tokenizer: a folder with one; else the one beside the file,
    else CLIP's. prediction: what the U-Net's output means, found out unless given. ema: take the
    averaged weights. settings: what is to be otherwise in a network's configuration, such as
    {"unet": {"attention_head_dim": 4}}.
    Raises FileNotFoundError, or ValueError that says what the file is or what does not fit.
    """
    file, notes = tensors.WeightFile(path), read_notes(Path(path).with_suffix(".yaml"))
    second, told = check_parts(file), settings or {}
    try:
        configs = configs_of({name: entry.shape for name, entry in file.entries.items()}, second)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} lacks {error}, or it has another form than expected. It looks like "
            f"{tensors.kind_of(file.entries)}"
        ) from error
    parts = {}
    for name, config in configs.items():
        config = {**config, **notes.get(name, {}), **told.get(name, {})}
        parts[name] = build(name, config, file, second, dtype, ema)
    unet, vae, text = turns.arrange(parts, path, one_at_a_time)
    vocabulary = find_tokenizer(path, tokenizer, second)
    if len(vocabulary) != text.config["vocab_size"]:
        raise ValueError(
            f"the tokenizer has {len(vocabulary)} tokens, the text encoder of {path} "
            f"{text.config['vocab_size']}: give its own, tokenizer=FOLDER"
        )
    prediction = prediction or notes.get("prediction")
    prediction = prediction or find_prediction(file, unet, text, vocabulary, second)
    if second and prediction == "v_prediction" and unet.config["sample_size"] is None:
        unet.config["sample_size"] = 96  # such models were trained on 768 × 768 pixels
    unet.config["sample_size"] = unet.config["sample_size"] or 64
    schedule = read_schedule(file, notes)
    spacing = "trailing" if schedule.alphas_cumprod[-1] == 0 else SPACING
    return unet, vae, text, vocabulary, schedule, prediction, spacing, OFFSET


def check_parts(file):
    """Whether a file is of the 2.x family. Raises ValueError if it is of none."""
    needed = {"U-Net": (UNET,), "autoencoder": (VAE,), "text encoder": (TEXT, OPEN_TEXT)}
    for what, prefixes in needed.items():
        if not any(name.startswith(prefixes) for name in file.entries):
            raise ValueError(
                f"{file.path} is no single file of Stable Diffusion 1.x or 2.x: it has no {what} "
                f"({' or '.join(prefix + '*' for prefix in prefixes)}). It looks like "
                f"{tensors.kind_of(file.entries)}"
            )
    return any(name.startswith(OPEN_TEXT) for name in file.entries)


def prefixes_of(second):
    """Where the networks are in a file: {name of the network: how its tensors' names begin}."""
    return {"unet": UNET, "vae": VAE, "text_encoder": OPEN_TEXT if second else TEXT}


def places_of(name, module, second):
    """{our key: compvis.Place} of one of the networks."""
    if name == "text_encoder":
        return (compvis.open_text_places if second else compvis.text_places)(module)
    return {"unet": compvis.unet_places, "vae": compvis.vae_places}[name](module)


def configs_of(shapes, second):
    """The networks' configurations, from the shapes of all tensors: {name: config}."""
    parts = {
        name: {key.removeprefix(prefix): x for key, x in shapes.items() if key.startswith(prefix)}
        for name, prefix in prefixes_of(second).items()
    }
    return {
        "unet": compvis.unet_config(parts["unet"], second),
        "vae": compvis.vae_config(parts["vae"]),
        "text_encoder": compvis.text_config(parts["text_encoder"]),
    }


def build(name, config, file, second, dtype, ema):
    """One of the networks on the meta device, and a function that reads its weights into it."""
    with torch.device("meta"):
        module = NETWORKS[name](config).to(dtype)
    averaged, prefix = ema and name == "unet", prefixes_of(second)[name]
    shapes = {key: x.shape for key, x in module.state_dict().items()}
    wanted, expected = {}, {}  # {their name: our keys with their places}: thirds share one
    for key, place in places_of(name, module, second).items():
        theirs = prefix + place.name
        theirs = compvis.average_name(theirs) if averaged else theirs
        wanted.setdefault(theirs, []).append((key, place))
        expected[theirs] = compvis.their_shape(place, shapes[key])
    surplus = [
        key
        for key in file.entries
        if key.startswith(prefix) and key not in expected and not averaged
        if not key.startswith(UNUSED) and not beyond(key, module)
    ]
    tensors.check_fit(file, expected, surplus)
    tensors.check_numbers(file, expected)

    def fill():
        found = {}
        for theirs, x in file.read(wanted, dtype):
            for key, place in wanted[theirs]:
                found[key] = compvis.ours(x, place)
        module.load_state_dict(found, assign=True)
        module.eval().requires_grad_(False)

    return module, fill


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
    tokens = [*ALPHABET, *map("".join, merges), START, END]
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
    return meaning(x, output.float())


def meaning(noise, output):
    """What a U-Net predicts that made `output` of pure `noise`: "epsilon" or "v_prediction"."""
    alike = torch.corrcoef(torch.stack([noise.flatten(), output.flatten()]))[0, 1]
    return "epsilon" if alike > 0.5 else "v_prediction"


def write(path, pipeline, half=False):
    """A pipeline as a single `.safetensors` file in CompVis' layout (Stability's, for 2.x).

    Which of the two goes by the text encoder: OpenCLIP's has exact GELUs, OpenAI's quick ones.
    Raises ValueError for a model of which such a file cannot tell all.
    """
    second = pipeline.text_encoder.config["hidden_act"] == "gelu"
    found = {}
    for name, prefix in prefixes_of(second).items():
        module = getattr(pipeline, name)
        places = places_of(name, module, second)
        found |= compvis.theirs(module.state_dict(), places, prefix)
    if second:  # readers expect the layer that is not used: of zeros, it would change nothing
        last = pipeline.text_encoder.config["num_hidden_layers"]
        block = f"{OPEN_TEXT}transformer.resblocks."
        names = [name for name in found if name.startswith(f"{block}{last - 1}.")]
        found |= {
            name.replace(f"{block}{last - 1}.", f"{block}{last}."): torch.zeros_like(found[name])
            for name in names
        }
    check_told(pipeline, configs_of({name: x.shape for name, x in found.items()}, second))
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


def check_told(pipeline, configs):
    """Raises ValueError where a file says something else of a pipeline than it is.

    configs: what `configs_of` reads off the file.
    """
    other = []
    for name, config in configs.items():
        mine = getattr(pipeline, name).config
        try:
            with torch.device("meta"):
                read = NETWORKS[name](config).config
        except ValueError as error:  # no such Stable Diffusion can be
            other.append(f"{name}: {error}")
            continue
        names = [key for key in mine if key != "sample_size" and differ(mine[key], read[key])]
        other += [f"{name}: {key} is {mine[key]!r}, not {read[key]!r}" for key in names]
    how = {"prediction": pipeline.prediction, "spacing": pipeline.spacing}
    usual = {"prediction": ("epsilon", "v_prediction"), "spacing": (SPACING,)}
    if pipeline.schedule.alphas_cumprod[-1] == 0:
        usual["spacing"] = ("trailing",)
    other += [f"{key} is {how[key]!r}" for key in how if how[key] not in usual[key]]
    if other:
        raise ValueError(
            "a single file has room for the tensors only, and stands for a Stable Diffusion; this "
            f"model differs ({'; '.join(other)}). Save it as a folder, which holds all of it"
        )


def differ(a, b):
    return (list(a) if isinstance(a, tuple) else a) != (list(b) if isinstance(b, tuple) else b)
