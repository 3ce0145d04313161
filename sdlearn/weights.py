"""Weights and settings on the disk: folders in diffusers' layout, read and written.

One folder each for `unet`, `vae`, `text_encoder`, `tokenizer` and `scheduler`, and a
`model_index.json` that names them. Weights are `.safetensors`, which run nothing when opened.
"""

import importlib.metadata
import json
from pathlib import Path

import torch

from sdlearn.checkpoint import write
from sdlearn.schedule import NoiseSchedule
from sdlearn.tensors import WeightFile, check_fit, check_numbers

# diffusers' name of the weights, transformers' name of them.
FILES = {"text_encoder": "model.safetensors"}
DEFAULT_FILE = "diffusion_pytorch_model.safetensors"
SCHEDULES = {
    "linear": NoiseSchedule.linear,
    "scaled_linear": NoiseSchedule.scaled_linear,
    "squaredcos_cap_v2": NoiseSchedule.cosine,
}
USUAL = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}  # ends of β
# Spacing of a scheduler whose configuration does not name one.
LEADING = ("PNDMScheduler", "DDIMScheduler", "DDPMScheduler")
UNKNOWN = ("add_attention", "attn_norm_num_groups")  # to diffusers' UNet2DConditionModel
NAMES = ("unet", "vae", "text_encoder")  # of the parts that have weights
PARTS = {
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def read_json(path):
    """A JSON file as a dict. Raises ValueError, FileNotFoundError with the file's name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is missing: is the folder in diffusers' layout?"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not the JSON it should be: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, where a dict is expected")
    return found


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_tensors(path):
    """A file of weights as {name: tensor}, in float32. Raises ValueError if damaged."""
    file = WeightFile(path)
    return dict(file.read(file.entries))


def open_part(folder, name, build, dtype=torch.float32):
    """The module of a subfolder without its weights, and a function that reads them into it.

    The module, build(its config.json), is on the meta device, and the file's shapes are known to
    fit. Raises FileNotFoundError, or ValueError that says which weights do not fit.
    """
    folder = Path(folder) / name
    config = read_json(folder / "config.json")
    try:
        with torch.device("meta"):  # shapes, no memory: the tensors of the file take their places
            module = build(config).to(dtype)
    except (RuntimeError, TypeError, ValueError) as error:  # of sizes that torch cannot make, too
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    found = [path for path in weight_files(folder.parent, name).values() if path.is_file()]
    if not found:
        raise FileNotFoundError(f"there is no {FILES.get(name, DEFAULT_FILE)} in {folder}")
    file = WeightFile(found[0])

    def load(tensors):
        module.load_state_dict(dict(tensors), assign=True)
        module.eval().requires_grad_(False)

    try:
        load({k: torch.empty(x.shape, dtype=dtype, device="meta") for k, x in file.entries.items()})
    except RuntimeError as error:
        expected = {key: x.shape for key, x in module.state_dict().items()}
        check_fit(file, expected, [key for key in file.entries if key not in expected])
        raise ValueError(f"{found[0]} does not fit to its config.json: {error}") from error
    check_numbers(file, [name for name, _ in module.named_parameters()])
    return module, lambda: load(file.read(file.entries, dtype))


def read_part(folder, name, build, dtype=torch.float32):
    """The module of a subfolder: build(its config.json), with its weights, for drawing.

    Raises FileNotFoundError, or ValueError that says which weights do not fit.
    """
    module, fill = open_part(folder, name, build, dtype)
    fill()
    return module


def weight_files(folder, name):
    """Where the weights of a part may be: {how they are stored: path}, the best first."""
    path = Path(folder) / name / FILES.get(name, DEFAULT_FILE)
    pickled = "pytorch_model" if name == "text_encoder" else path.stem
    half = path.with_suffix(".fp16.safetensors")
    return {"whole": path, "half": half, "pickled": path.with_name(f"{pickled}.bin")}


def write_part(folder, name, module, half=False, **more):
    """A module's configuration (and `more`) and weights to a subfolder; float16 if half."""
    folder = Path(folder) / name
    config = {k: v for k, v in module.config.items() if k not in UNKNOWN}
    if name == "text_encoder":
        # transformers 5 computes in the precision of the file, unless it is told otherwise.
        more |= {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
        more |= {"dtype": "float32", "torch_dtype": "float32"}
    write_json(folder / "config.json", {**config, **more})
    tensors = module.state_dict()
    if half:
        tensors = {name: x.half() if x.is_floating_point() else x for name, x in tensors.items()}
    write(folder / FILES.get(name, DEFAULT_FILE), tensors, {"format": "pt"})


def find_folder(name, half=False):
    """A folder on this machine, or one of the Hub ("owner/name"), downloaded if need be.

    half: download weights in half precision, if there are any. Raises FileNotFoundError, or
    ValueError for a file.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{path} is neither a folder nor a file of weights")
    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no folder {str(name)!r}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    small = [
        "*.json",
        "scheduler/*.json",
        "tokenizer/*",
        *(f"{part}/config.json" for part in NAMES),
    ]
    try:
        for kind in ("half", "whole", "pickled") if half else ("whole", "half", "pickled"):
            files = [weight_files("", part)[kind].as_posix() for part in NAMES]
            path = Path(snapshot_download(name, allow_patterns=small + files))
            if all(any(f.is_file() for f in weight_files(path, part).values()) for part in NAMES):
                break
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"there is no folder {name!r} here, and the Hub cannot be reached or does not have "
            f"it: {str(error).splitlines()[0]}"
        ) from error
    return path


def read_scheduler(folder):
    """Its `scheduler_config.json` as NoiseSchedule, prediction, spacing and offset."""
    path = Path(folder) / "scheduler" / "scheduler_config.json"
    config = read_json(path)
    try:
        schedule = schedule_of(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    leading = config.get("_class_name", "PNDMScheduler") in LEADING
    spacing = config.get("timestep_spacing", "leading" if leading else "linspace")
    return (
        schedule,
        config.get("prediction_type", "epsilon"),
        spacing,
        config.get("steps_offset", 0),
    )


def schedule_of(config):
    """The NoiseSchedule that a scheduler's configuration describes."""
    kind = config.get("beta_schedule", "linear")
    T = config.get("num_train_timesteps", 1000)
    if config.get("trained_betas") is not None:
        schedule = NoiseSchedule(torch.tensor(config["trained_betas"], dtype=torch.float32))
    elif kind == "squaredcos_cap_v2":
        schedule = NoiseSchedule.cosine(T)
    elif kind in SCHEDULES:
        ends = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)  # diffusers' defaults
        schedule = SCHEDULES[kind](T, *ends)
    else:
        raise ValueError(f"beta_schedule {kind!r} is not one of {', '.join(SCHEDULES)}")
    if config.get("rescale_betas_zero_snr") and schedule.alphas_cumprod[-1] != 0:
        schedule = schedule.with_zero_terminal_snr()
    return schedule


def write_scheduler(folder, schedule, prediction, spacing, offset):
    """Their `scheduler_config.json`, for diffusers' DPM-Solver++(2M), and `model_index.json`."""
    betas, T = schedule.betas.cpu(), len(schedule)
    config = {"_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": T}
    ends = float(betas[0]), float(betas[-1])
    stretched = bool(betas[-1] == 1)  # nothing is left of the picture at the last step
    for kind, make in SCHEDULES.items():
        args = () if kind == "squaredcos_cap_v2" else USUAL[kind] if stretched else ends
        usual = make(T, *args)
        usual = usual.with_zero_terminal_snr() if stretched else usual
        if torch.allclose(usual.betas, betas, rtol=1e-5, atol=0):
            config["beta_schedule"] = kind
            if args:  # 0.00085 in place of 0.0008500000112690032
                start, end = (float(f"{beta:.6g}") for beta in args)
                config |= {"beta_start": start, "beta_end": end}
            break
    else:
        config["trained_betas"] = betas.tolist()
    if stretched:
        config["rescale_betas_zero_snr"] = True
    config |= {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}
    config |= {"prediction_type": prediction, "timestep_spacing": spacing, "steps_offset": offset}
    write_json(Path(folder) / "scheduler" / "scheduler_config.json", config)
    nothing = dict.fromkeys(("feature_extractor", "image_encoder", "safety_checker"), [None, None])
    version = importlib.metadata.version("diffusers")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": version, **nothing}
    write_json(
        Path(folder) / "model_index.json", {**index, "requires_safety_checker": False, **PARTS}
    )
