"""`sdlearn train`: a U-Net trained as a JSON file says, for pictures without words."""

import contextlib
import inspect
import json
import sys
from dataclasses import fields
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from sdlearn import checkpoint, show
from sdlearn.data import load_emoji, load_images, to_tensor
from sdlearn.places import CommandError, course_root
from sdlearn.runtime import device, device_name, seed_everything
from sdlearn.samplers import sample
from sdlearn.schedule import NoiseSchedule
from sdlearn.settings import Settings
from sdlearn.train import diffusion_loss, train
from sdlearn.unet import UNet

PARTS = ("model", "data", "fold", "schedule", "prediction", "snr_gamma", "train")
NEEDED = ("model", "data", "train")
SCHEDULES = ("linear", "scaled_linear", "cosine")
TRAIN = (*[f.name for f in fields(Settings)], "save_every")
EMOJI = tuple(inspect.signature(load_emoji).parameters)


def train_recipe(path, out=None, restart=False, half=False):
    """Train what the recipe `path` describes, and write it to the folder `out`.

    out: build/train/NAME in the clone unless given, NAME being the recipe's. There will be the
    checkpoint, the average weights in `unet/` (diffusers opens it), samples.png and training.json.
    A second call goes on where the first was stopped; restart=True begins anew.
    half: `unet/` in float16, half the bytes. Returns 0, 1 when the loss or the memory overflowed,
    130 when interrupted. Raises CommandError for a recipe that cannot be followed.
    """
    recipe = read_recipe(Path(path))
    try:
        device()  # an SDLEARN_DEVICE that is not here is better found now
    except (RuntimeError, ValueError) as error:
        raise CommandError(error) from error
    out = Path(out or course_root() / "build" / "train" / Path(path).stem)
    with told_of(path):
        settings = dict(recipe["train"])
        save_every = settings.pop("save_every", 200)
        seed_everything(Settings(**settings).seed)  # the weights that the network begins with
        model = UNet.from_config(recipe["model"])
        schedule = make_schedule(recipe.get("schedule", {"name": "cosine"}))
        prediction, fold = recipe.get("prediction", "epsilon"), recipe.get("fold", 1)
        loss = diffusion_loss(schedule, prediction, recipe.get("snr_gamma"))
        x0 = load(recipe["data"], fold)
        check_model(model, x0)
        about = {name: value for name, value in recipe.items() if name != "train"}
        settings |= {"folder": out, "save_every": save_every, "restart": restart, "about": about}
        try:
            run = train(model, x0, loss, **settings)
        except (FloatingPointError, torch.cuda.OutOfMemoryError) as error:
            print(f"sdlearn train: {in_words(error)}", file=sys.stderr)
            return 1
    if not run.finished:
        run.say(f"`sdlearn train {path}` (with the same --out, if any) goes on from there.")
        return 130
    if run.rank == 0:
        write_unet(run.ema, recipe["model"], x0.shape[-1], out / "unet", half)
        draw(run, x0.shape, schedule, prediction, fold).save(out / "samples.png")
        write_report(run, recipe, out / "training.json")
        run.say(f"{out}: unet/, samples.png, training.json")
    return 0


def read_recipe(path):
    """The recipe as a dict with known names only."""
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        example = "data/training/faces.json"
        raise CommandError(f"{path}: {error.strerror}. An example is {example}") from error
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}") from error
    check_names(path, recipe, PARTS, NEEDED)
    check_names(f"{path}, train", recipe["train"], TRAIN, ("steps",))
    if not isinstance(recipe["model"], dict):
        raise CommandError(f"{path}, model: expected is the config.json of a UNet2DModel, as {{…}}")
    return recipe


def check_names(what, given, known, needed=()):
    """Raises CommandError if `given` is no dict, has names beside `known`, or lacks one."""
    if not isinstance(given, dict):
        raise CommandError(f"{what}: expected is {{…}} with {', '.join(known)}, not {given!r}")
    wrong = [name for name in given if name not in known]
    if wrong:
        raise CommandError(f"{what}: {', '.join(wrong)} is not known; known are {', '.join(known)}")
    for name in needed:
        if name not in given:
            raise CommandError(f"{what}: {name!r} is missing")


@contextlib.contextmanager
def told_of(path):
    """Turn complaints about values into the command's, with the name of the recipe."""
    try:
        yield
    except CommandError:
        raise
    except checkpoint.CheckpointError as error:
        raise CommandError(in_words(error)) from error
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error


def in_words(error):
    """An error's text in terms of the command."""
    text = str(error).replace("restart=True", "--restart")
    return text.replace("name another folder", "name another folder with --out")


def make_schedule(given):
    """{"name": "cosine", "T": 1000} as a NoiseSchedule; other names go to its constructor."""
    if not isinstance(given, dict) or given.get("name") not in SCHEDULES:
        raise CommandError(f'schedule {given!r}: expected is {{"name": …}} of {SCHEDULES}')
    options = {name: value for name, value in given.items() if name != "name"}
    make = getattr(NoiseSchedule, given["name"])
    check_names("schedule", options, tuple(inspect.signature(make).parameters))
    return make(**options)


def load(given, fold):
    """{"emoji": {…}} or {"folder": "path", "size": 64} as [N, C·fold², H/fold, W/fold]."""
    check_names("data", given, ("emoji", "folder", "size", "mirror"))
    if ("emoji" in given) == ("folder" in given):
        raise CommandError('data: expected is either "emoji" or "folder"')
    if "emoji" in given:
        check_names("data", given, ("emoji",))
        check_names("emoji", given["emoji"], (*EMOJI, "mirror"))
        options = {name: value for name, value in given["emoji"].items() if name != "mirror"}
        x0, mirror = to_tensor(load_emoji(**options)), given["emoji"].get("mirror", False)
    else:
        check_names("data", given, ("folder", "size", "mirror"), ("size",))
        x0 = to_tensor(load_images(str(given["folder"]), given["size"]))
        mirror = given.get("mirror", False)
    x0 = torch.cat([x0, x0.flip(-1)]) if mirror else x0
    if type(fold) is not int or fold < 1 or x0.shape[-1] % fold:
        raise CommandError(f"fold {fold!r} does not divide pictures of {x0.shape[-1]} pixels")
    return F.pixel_unshuffle(x0, fold)


def check_model(model, x0):
    """Raises CommandError if the network does not take, and give back, pictures like these."""
    for name in ("in_channels", "out_channels"):
        if model.config[name] != x0.shape[1]:
            raise CommandError(
                f"model: {name} is {model.config[name]}, but must be {x0.shape[1]} (3 colours, "
                "times fold × fold)"
            )
    if model.config["cross_attention_dim"]:
        raise CommandError("model: it has cross-attention, but this command trains without words")
    with torch.no_grad():
        model(x0[:1], torch.zeros(1, dtype=torch.long))  # complains about a size it cannot halve


def write_unet(unet, config, size, folder, half=False):
    """A folder that diffusers' UNet2DModel.from_pretrained opens."""
    tensors = {name: v.half() if half else v for name, v in unet.state_dict().items()}
    checkpoint.write(folder / "diffusion_pytorch_model.safetensors", tensors, {"format": "pt"})
    config = {"_class_name": "UNet2DModel", **config, "sample_size": size}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def draw(run, shape, schedule, prediction, fold, count=32):
    """Pictures that the average weights draw, as one PIL picture."""
    generator = torch.Generator().manual_seed(run.settings.seed)
    noise = torch.randn(count, *shape[1:], generator=generator).to(run.device)
    options = {"sampler": "ddim", "steps": min(50, len(schedule)), "spacing": "trailing"}
    x0 = sample(run.ema, noise, schedule, prediction=prediction, **options)
    return Image.fromarray(show.tile(list(show.to_uint8(F.pixel_shuffle(x0, fold)))))


def write_report(run, recipe, path):
    """What was trained, on what, for how long, and the loss of every step."""
    report = {
        "recipe": recipe,
        "pictures": run.count,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "device": device_name(run.device),
        "processes": run.world,
        "torch": torch.__version__,
        "seconds": round(run.seconds, 1),
        "pictures_per_second": round(run.pictures_per_second, 1),
        "losses": [round(loss, 5) for loss in run.losses],
    }
    path.write_text(json.dumps(report) + "\n", encoding="utf-8")
