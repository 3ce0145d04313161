"""The pipeline draws diffusers' pictures, reads and writes its folders, and says no clearly."""

import json
import logging

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_parity_schedulers import THEIRS

from sdlearn import weights
from sdlearn.clip import CLIPTextModel, Tokenizer
from sdlearn.data import load_images, to_tensor
from sdlearn.pipeline import TextToImage
from sdlearn.samplers import sample
from sdlearn.schedule import NoiseSchedule
from sdlearn.unet import UNet
from sdlearn.vae import AutoencoderKL
from sdlearn.webui import WebUI

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
logging.getLogger("diffusers").setLevel(logging.ERROR)

PROMPTS = ["a green heart, 3d style", "two blue stars"]
SIZE = 32
BLOCKS = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "layers_per_block": 1,
}


def make(prediction="v_prediction", schedule=None, spacing="leading", in_channels=4):
    """A pipeline of small networks with random weights, pictures of 32 × 32."""
    torch.manual_seed(0)
    unet = UNet.from_config(
        dict(
            _class_name="UNet2DConditionModel",
            sample_size=16,
            in_channels=in_channels,
            out_channels=4,
            block_out_channels=[16, 32],
            attention_head_dim=4,
            cross_attention_dim=32,
            **BLOCKS,
        )
    )
    vae = AutoencoderKL.from_config(
        dict(
            block_out_channels=[8, 16],
            down_block_types=2 * ["DownEncoderBlock2D"],
            up_block_types=2 * ["UpDecoderBlock2D"],
            norm_num_groups=4,
            sample_size=SIZE,
            scaling_factor=0.7,
        )
    )
    tokenizer = Tokenizer.train(PROMPTS, 530, length=24)
    text_encoder = CLIPTextModel.from_config(
        dict(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            vocab_size=len(tokenizer),
            eos_token_id=tokenizer.end,
        )
    )
    networks = [part.eval().requires_grad_(False) for part in (unet, vae, text_encoder)]
    for parameter in (p for part in networks for p in part.parameters()):
        parameter += 0.02 * torch.randn_like(parameter)
    schedule = schedule or NoiseSchedule.scaled_linear()
    return TextToImage(*networks, tokenizer, schedule, prediction, spacing, 1)


@pytest.fixture(scope="module")
def pipeline():
    return make()


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    pipeline.save(path)
    return path


def theirs(folder, sampler="dpmpp_2m", kind=diffusers.StableDiffusionPipeline):
    pipe = kind.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    make_scheduler, options = THEIRS[sampler]
    pipe.scheduler = make_scheduler.from_config(pipe.scheduler.config, **options)
    return pipe


def seeds(*numbers):
    return [torch.Generator().manual_seed(number) for number in numbers]


def apart(ours, theirs):
    """The largest difference of any pixel of any picture, in steps of 1/255."""
    assert len(ours) == len(theirs) > 0
    assert all(np.asarray(picture).std() > 5 for picture in ours)  # something is drawn
    pairs = [(np.asarray(a).astype(int), np.asarray(b).astype(int)) for a, b in zip(ours, theirs)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(abs(a - b).max() for a, b in pairs)


@pytest.fixture(scope="module")
def photos():
    return [row["image"] for row in load_images("photos", SIZE)]


# --- the same pictures as diffusers ---------------------------------------------------------------


@pytest.mark.parametrize("sampler", THEIRS)
def test_every_sampler(pipeline, folder, sampler):
    steps, negative = 8, "blue"
    got = pipeline(PROMPTS, negative, steps, 5.0, seed=3, sampler=sampler)
    expected = theirs(folder, sampler)(
        PROMPTS,
        negative_prompt=[negative] * 2,
        num_inference_steps=steps,
        guidance_scale=5.0,
        generator=seeds(3, 4),
    )
    assert apart(got, expected.images) <= 1


@pytest.mark.parametrize(
    "prediction, schedule, spacing",
    [
        ("epsilon", NoiseSchedule.scaled_linear(), "leading"),
        ("sample", NoiseSchedule.cosine(), "trailing"),
        ("v_prediction", NoiseSchedule.linear(500), "linspace"),
        ("v_prediction", NoiseSchedule(torch.linspace(0.001, 0.03, 200) ** 1.1), "trailing"),
    ],
)
def test_what_the_folder_says(tmp_path, prediction, schedule, spacing):
    """Schedule, prediction and spacing come back, here and in diffusers."""
    before = make(prediction, schedule, spacing)
    before.save(tmp_path)
    pipe = TextToImage.load(tmp_path)
    torch.testing.assert_close(pipe.schedule.betas, schedule.betas, rtol=1e-5, atol=0)
    assert (pipe.prediction, pipe.spacing, pipe.offset) == (prediction, spacing, 1)
    got = pipe(PROMPTS[0], steps=7, guidance=3, seed=11)
    expected = theirs(tmp_path)(
        PROMPTS[0], num_inference_steps=7, guidance_scale=3, generator=seeds(11)
    )
    assert apart(got, expected.images) <= 1
    assert apart(got, before(PROMPTS[0], steps=7, guidance=3, seed=11)) <= 1


@pytest.mark.parametrize(
    "schedule", [NoiseSchedule.scaled_linear(), NoiseSchedule(torch.linspace(0.001, 0.02, 300))]
)
def test_zero_terminal_snr_and_guidance_rescale(tmp_path, schedule):
    schedule = schedule.with_zero_terminal_snr()
    make("v_prediction", schedule, "trailing").save(tmp_path)
    pipe = TextToImage.load(tmp_path)
    torch.testing.assert_close(pipe.schedule.betas, schedule.betas, rtol=1e-5, atol=0)
    assert pipe.schedule.alphas_cumprod[-1] == 0
    options = {"guidance_rescale": 0.7}
    got = pipe(PROMPTS, steps=10, guidance=9, seed=11, sampler="ddim", **options)
    expected = theirs(tmp_path, "ddim")(
        PROMPTS, num_inference_steps=10, guidance_scale=9, generator=seeds(11, 12), **options
    )
    assert apart(got, expected.images) <= 1
    assert apart(got, pipe(PROMPTS, steps=10, guidance=9, seed=11, sampler="ddim")) > 10
    # a plain prompt is drawn the same in the web UI's syntax
    parts = pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.schedule
    other = WebUI(*parts, pipe.prediction, pipe.spacing, pipe.offset)
    assert apart(got, other(PROMPTS, steps=10, guidance=9, seed=11, sampler="ddim", **options)) <= 1
    with pytest.raises(ValueError, match="guidance_rescale 2 is not between 0 and 1"):
        pipe(PROMPTS, guidance_rescale=2)


def test_without_guidance(pipeline, folder):
    got = pipeline(PROMPTS, steps=5, guidance=1, seed=0)
    expected = theirs(folder)(
        PROMPTS, num_inference_steps=5, guidance_scale=1.0, generator=seeds(0, 1)
    )
    assert apart(got, expected.images) <= 1


def test_other_sizes(pipeline, folder):
    got = pipeline(PROMPTS[0], steps=4, seed=5, size=(48, 24))
    expected = theirs(folder)(
        PROMPTS[0], num_inference_steps=4, width=48, height=24, generator=seeds(5)
    )
    assert got[0].size == (48, 24)
    assert apart(got, expected.images) <= 1


def test_picture_to_picture(pipeline, folder, photos):
    got = pipeline(PROMPTS, steps=10, seed=2, image=photos[:2], strength=0.6, sampler="ddim")
    pipe = theirs(folder, "ddim", diffusers.StableDiffusionImg2ImgPipeline)
    pipe.vae.encode = mode_for_sample(pipe.vae.encode)
    # Theirs draws a sample of the latents first, ours takes the mean: same noise afterwards.
    expected = pipe(
        PROMPTS,
        image=photos[:2],
        strength=0.6,
        num_inference_steps=10,
        generator=seeds(2, 3),
    )
    assert apart(got, expected.images) <= 1


def mode_for_sample(encode):
    """diffusers' encode, whose distribution gives its mean and draws no random numbers."""

    def wrapped(x):
        found = encode(x)
        found.latent_dist.sample = lambda generator=None: found.latent_dist.mode()
        return found

    return wrapped


def inpainted(folder, seed, image, mask, strength, steps):
    """diffusers' pictures of the first prompt, inside a mask."""
    pipe = theirs(folder, "dpmpp_2m", diffusers.StableDiffusionInpaintPipeline)
    pipe.vae.encode = mode_for_sample(pipe.vae.encode)
    given = {"image": image, "mask_image": mask, "width": SIZE, "height": SIZE}
    given |= {"strength": strength, "num_inference_steps": steps, "generator": seeds(seed)}
    return pipe(PROMPTS[0], **given).images


def test_inpainting(pipeline, folder, photos):
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (0, SIZE // 2, SIZE, SIZE))
    options = {"sampler": "dpmpp_2m"}
    got = pipeline(
        PROMPTS[0], steps=8, seed=2, image=photos[0], mask=mask, strength=0.75, **options
    )
    expected = inpainted(folder, 2, photos[0], mask, 0.75, 8)
    below = (0, SIZE // 2, SIZE, SIZE)
    assert apart([got[0].crop(below)], [expected[0].crop(below)]) <= 1
    above = (0, 0, SIZE, SIZE // 2)
    assert apart([got[0].crop(above)], [photos[0].crop(above)]) == 0  # as it was, to the bit


def test_networks_for_inpainting(tmp_path, photos):
    """Nine channels: latents, mask, latents of what is known."""
    pipeline = make(in_channels=9)
    pipeline.save(tmp_path)
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (0, 8, SIZE, 24))
    got = pipeline(PROMPTS[0], steps=6, seed=4, image=photos[1], mask=mask, strength=1.0)
    expected = inpainted(tmp_path, 4, photos[1], mask, 1.0, 6)
    inside = (0, 8, SIZE, 24)
    # At full strength ours begins with the known part in place, theirs with noise all over.
    pixels = [np.asarray(p.crop(inside)).astype(int) for p in (got[0], expected[0])]
    assert abs(pixels[0] - pixels[1]).mean() < 3
    with pytest.raises(ValueError, match="inpainting only"):
        pipeline(PROMPTS[0])


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_that_diffusers_wrote(folder, tmp_path, pipeline):
    pipe = theirs(folder)
    pipe.save_pretrained(tmp_path)
    got = TextToImage.load(tmp_path)(PROMPTS, steps=5, seed=8)
    assert apart(got, pipeline(PROMPTS, steps=5, seed=8)) <= 1


def test_nothing_is_lost_on_the_way(folder, tmp_path):
    TextToImage.load(folder).save(tmp_path)
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        other = tmp_path / file.relative_to(folder)
        if file.suffix == ".safetensors":
            a, b = load_file(file), load_file(other)
            assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        else:
            assert file.read_text() == other.read_text(), file.name


def test_half_the_bytes(pipeline, folder, tmp_path):
    pipeline.save(tmp_path, half=True)
    path = tmp_path / "unet" / weights.DEFAULT_FILE
    assert {x.dtype for x in load_file(path).values()} == {torch.float16}
    back = TextToImage.load(tmp_path)
    assert back.unet.conv_in.weight.dtype == torch.float32
    a, b = pipeline(PROMPTS[0], steps=4, seed=0), back(PROMPTS[0], steps=4, seed=0)
    assert apart(a, b) <= 12  # weights are rounded to 1 in 2,048
    # diffusers opens it, and draws what we draw from it
    expected = theirs(tmp_path)(PROMPTS[0], num_inference_steps=4, generator=seeds(0))
    assert apart(b, expected.images) <= 1
    for name in ("unet", "vae"):
        file = tmp_path / name / weights.DEFAULT_FILE
        file.rename(file.with_suffix(".fp16.safetensors"))  # as the Hub names such files
    assert apart(b, TextToImage.load(tmp_path)(PROMPTS[0], steps=4, seed=0)) == 0


def test_scheduler_as_stable_diffusion_has_it(tmp_path):
    config = {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    }
    weights.write_json(tmp_path / "scheduler" / "scheduler_config.json", config)
    schedule, prediction, spacing, offset = weights.read_scheduler(tmp_path)
    assert torch.equal(schedule.betas, NoiseSchedule.scaled_linear().betas)
    assert (prediction, spacing, offset) == ("epsilon", "leading", 1)
    config |= {"_class_name": "EulerDiscreteScheduler", "rescale_betas_zero_snr": True}
    weights.write_json(tmp_path / "scheduler" / "scheduler_config.json", config)
    schedule, _, spacing, _ = weights.read_scheduler(tmp_path)
    assert schedule.alphas_cumprod[-1] == 0 and spacing == "linspace"
    config["beta_schedule"] = "sigmoid"
    weights.write_json(tmp_path / "scheduler" / "scheduler_config.json", config)
    with pytest.raises(ValueError, match="sigmoid"):
        weights.read_scheduler(tmp_path)


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (lambda f: (f / "vae" / "config.json").unlink(), FileNotFoundError, "vae/config.json"),
        (lambda f: (f / "unet" / "config.json").write_text("{"), ValueError, "not the JSON"),
        (lambda f: (f / "unet" / "config.json").write_text("[]"), ValueError, "a dict is expected"),
        (lambda f: (f / "tokenizer" / "merges.txt").unlink(), FileNotFoundError, "tokenizer"),
        (
            lambda f: (f / "unet" / weights.DEFAULT_FILE).rename(f / "unet" / "model.bin"),
            FileNotFoundError,
            "there is no",
        ),
        (
            lambda f: (f / "vae" / weights.DEFAULT_FILE).write_bytes(b"123456789"),
            ValueError,
            "damaged",
        ),
        (
            lambda f: (f / "vae" / weights.DEFAULT_FILE).write_bytes(
                (f / "unet" / weights.DEFAULT_FILE).read_bytes()
            ),
            ValueError,
            "does not fit",
        ),
    ],
)
def test_damaged_folders(folder, tmp_path, damage, error, message):
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        other = tmp_path / file.relative_to(folder)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(error, match=message):
        TextToImage.load(tmp_path)


def test_what_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        TextToImage.load(tmp_path / "nothing")
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        TextToImage.load(tmp_path / "model.ckpt")
    with pytest.raises(FileNotFoundError, match="Hub"):
        TextToImage.load("nobody/no-such-model")


# --- seeds, sizes, callbacks ----------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_a"])
def test_a_picture_is_the_same_alone(pipeline, sampler):
    options = {"steps": 5, "sampler": sampler}
    both = pipeline(PROMPTS, seed=20, **options)
    assert [picture.info["seed"] for picture in both] == [20, 21]
    assert apart([both[1]], pipeline(PROMPTS[1], seed=21, **options)) <= 1
    swapped = pipeline(PROMPTS[::-1], seed=[21, 20], **options)
    assert apart(both, swapped[::-1]) <= 1
    assert apart(both, pipeline(PROMPTS, seed=30, **options)) > 20


def test_a_seed_is_drawn_and_told(pipeline):
    first, second = (pipeline(PROMPTS[0], steps=2)[0] for _ in range(2))
    assert first.info["seed"] != second.info["seed"]
    again = pipeline(PROMPTS[0], steps=2, seed=first.info["seed"])
    assert apart([first], again) == 0


def test_global_random_numbers_do_not_matter(pipeline):
    torch.manual_seed(1)
    first = pipeline(PROMPTS[0], steps=3, seed=1, sampler="ddpm")
    torch.manual_seed(2)
    assert apart(first, pipeline(PROMPTS[0], steps=3, seed=1, sampler="ddpm")) == 0


def test_guidance_and_negative_prompts_matter(pipeline):
    draw = lambda **options: pipeline(PROMPTS[0], steps=4, seed=1, **options)  # noqa: E731
    assert apart(draw(guidance=1), draw(guidance=12)) > 5
    assert apart(draw(), draw(negative_prompt=PROMPTS[1])) > 0
    # The prompt against itself: guidance has nowhere to go.
    assert apart(draw(guidance=1), draw(guidance=9, negative_prompt=PROMPTS[0])) <= 1


def test_callback(pipeline):
    seen = []
    pictures = pipeline(PROMPTS, steps=4, seed=1, callback=lambda i, z: seen.append((i, z)))
    assert [i for i, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1].shape == (2, 4, 16, 16)
    assert apart(pipeline.decode(seen[-1][1]), pictures) == 0  # the last guess is the picture
    seen.clear()
    pipeline(
        PROMPTS[0],
        steps=10,
        image=pictures[0],
        strength=0.3,
        callback=lambda i, z: seen.append((i, z)),
    )
    assert len(seen) == 3


def test_strength_keeps_the_picture(photos):
    pipeline = make()
    x = to_tensor(photos[:1])
    pipeline.vae.scaling_factor /= pipeline.encode(x).std().item()  # latents of spread 1
    start = pipeline.encode(x)
    far = []
    for strength in (0.05, 0.4, 1.0):
        last = []
        pipeline(
            PROMPTS[0],
            steps=20,
            seed=1,
            guidance=1,
            image=photos[0],
            strength=strength,
            callback=lambda i, z, last=last: last.append(z),
        )
        far.append((last[-1] - start).square().mean().sqrt().item())
    assert far[0] < 0.3 and far[0] < far[1] < far[2]


def test_what_is_behind_the_mask_is_not_seen(pipeline, photos):
    """At full strength the pixels to be drawn anew have no influence."""
    mask = Image.new("L", (SIZE, SIZE), 255)
    other = Image.fromarray(255 - np.asarray(photos[0]))
    a, b = (
        pipeline(PROMPTS[0], steps=4, seed=1, image=picture, mask=mask, strength=1.0)
        for picture in (photos[0], other)
    )
    assert apart(a, b) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 30}, "size 30 is not a multiple of 4 .* try 28 or 32"),
        ({"size": (32, 2)}, "size 2 .* try 4"),
        ({"size": 32.0}, "size 32.0"),
        ({"steps": 0}, "steps 0"),
        ({"sampler": "magic"}, "magic"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "x"}, "seed 'x'"),
        ({"seed": [1, 2, 3]}, "3 seeds for 1 prompts"),
        ({"negative_prompt": ["a", "b"]}, "2 negative prompts for 1"),
        ({"strength": 0, "image": Image.new("RGB", (8, 8))}, "strength 0"),
        ({"strength": 1.5, "image": Image.new("RGB", (8, 8))}, "strength 1.5"),
        ({"strength": 0.01, "image": Image.new("RGB", (8, 8))}, "leaves none"),
        ({"image": 2 * [Image.new("RGB", (8, 8))]}, "2 images for 1"),
        ({"mask": Image.new("L", (8, 8))}, "give the image too"),
    ],
)
def test_arguments_that_make_no_sense(pipeline, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline(PROMPTS[0], **{"steps": 5, **options})


def test_pictures_of_any_kind_to_begin_with(pipeline):
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        picture = Image.new("RGB", (50, 31), "red").convert(mode)
        assert pipeline(PROMPTS[0], steps=2, image=picture, mask=picture)[0].size == (SIZE, SIZE)


def test_large_pictures_go_through_the_vae_in_tiles(pipeline, monkeypatch):
    monkeypatch.setattr("sdlearn.pipeline.LARGE", 40)
    sizes, decode = [], pipeline.vae.decode
    monkeypatch.setattr(
        pipeline.vae, "decode", lambda z: sizes.append(tuple(z.shape[2:])) or decode(z)
    )
    picture = pipeline.decode(torch.randn(1, 4, 100, 36))[0]
    assert picture.size == (72, 200) and sizes == [(64, 36), (64, 36)]


# --- what the samplers have for it ----------------------------------------------------------------


def test_start_and_mask_of_the_samplers():
    """Known places come back as they were, from any noise; the rest is as without a mask."""
    schedule, x = NoiseSchedule.scaled_linear(), torch.randn(2, 3, 4, 4)
    start, mask = torch.randn(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    mask[..., :2] = 1
    model = lambda x_t, t: 0.3 * x_t  # noqa: E731
    for sampler in ("dpmpp_2m", "heun", "euler_a"):
        generator = [torch.Generator().manual_seed(i) for i in range(2)]
        got = sample(
            model, x, schedule, sampler, 10, generator=generator, start=start, skip=4, mask=mask
        )
        generator = [torch.Generator().manual_seed(i) for i in range(2)]
        free = sample(model, x, schedule, sampler, 10, generator=generator, start=start, skip=4)
        torch.testing.assert_close(got[..., 2:], start[..., 2:])
        torch.testing.assert_close(got[..., :2], free[..., :2])
        assert (free[..., 2:] - start[..., 2:]).abs().max() > 0.1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"skip": 2}, "start"),
        ({"mask": torch.ones(1, 1, 4, 4)}, "start"),
        ({"start": torch.zeros(1, 3, 4, 4), "skip": 5}, "skip 5"),
        ({"start": torch.zeros(1, 3, 2, 2)}, "must be equal"),
        ({"start": torch.zeros(1, 3, 4, 4), "mask": torch.zeros(1, 2, 4, 4)}, "a mask"),
    ],
)
def test_starts_that_make_no_sense(options, message):
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match=message):
        sample(lambda x, t: x, x, NoiseSchedule.linear(), steps=5, **options)


def test_model_index_names_what_diffusers_needs(folder):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert all((folder / name).is_dir() for name in weights.PARTS)
