"""From a prompt to pictures: Stable Diffusion, all parts put together (chapter 10 builds it)."""

import secrets
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from sdlearn import budget, single_file, turns, weights
from sdlearn.clip import Tokenizer
from sdlearn.data import to_pil, to_rgb, to_tensor
from sdlearn.guidance import guide, rescaled
from sdlearn.samplers import sample
from sdlearn.single_file import NETWORKS
from sdlearn.vae import LARGE, decode_tiled, encode_tiled


class TextToImage:
    """Text to picture, picture to picture, and inpainting, by diffusion in latents.

    schedule, prediction: what the U-Net was trained with; spacing, offset: see `samplers.sample`.
    Source: Rombach et al. 2022; guidance: Ho and Salimans 2022.
    """

    def __init__(
        self,
        unet,
        vae,
        text_encoder,
        tokenizer,
        schedule,
        prediction="epsilon",
        spacing="leading",
        offset=1,
    ):
        self.unet, self.vae, self.text_encoder = unet, vae, text_encoder
        self.tokenizer, self.schedule = tokenizer, schedule
        self.prediction, self.spacing, self.offset = prediction, spacing, offset

    @classmethod
    def load(cls, source, dtype=torch.float32, one_at_a_time=None, **options):
        """From a folder in diffusers' layout, a single file, or the Hub ("owner/name"); on the CPU.

        dtype: of the networks. one_at_a_time: keep only the network in memory that is at work;
        None: where there is not room for all. options: for a single file, see `single_file.read`.
        Raises FileNotFoundError, ValueError or MemoryError that says what is missing.
        """
        if Path(source).is_file():
            return cls(*single_file.read(source, dtype, one_at_a_time, **options))
        if options:
            raise ValueError(f"{', '.join(options)}: options of single files; {source} is none")
        folder = weights.find_folder(source, half=dtype.itemsize == 2)
        parts = {}
        for name, build in NETWORKS.items():
            parts[name] = weights.open_part(folder, name, build, dtype)
        networks = turns.arrange(parts, source, one_at_a_time)
        tokenizer = Tokenizer.load(folder / "tokenizer")
        return cls(*networks, tokenizer, *weights.read_scheduler(folder))

    def save(self, path, half=False):
        """Write a folder that diffusers' StableDiffusionPipeline opens; float16 if half.

        A path that ends in .safetensors becomes a single file, in the layout of CompVis.
        """
        if Path(path).suffix == ".safetensors":
            single_file.write(path, self, half)
            return
        special = {"bos_token_id": self.tokenizer.start, "pad_token_id": self.tokenizer.pad}
        for name in NETWORKS:
            more = special if name == "text_encoder" else {}
            weights.write_part(path, name, getattr(self, name), half, **more)
        self.tokenizer.save(Path(path) / "tokenizer")
        scheduler = self.schedule, self.prediction, self.spacing, self.offset
        weights.write_scheduler(path, *scheduler)

    def to(self, device_or_dtype):
        """Move the networks to a device, or into a dtype. Returns the pipeline itself."""
        for name in NETWORKS:
            getattr(self, name).to(device_or_dtype)
        return self

    @torch.no_grad()
    def __call__(
        self,
        prompt,
        negative_prompt="",
        steps=25,
        guidance=7.5,
        seed=None,
        size=None,
        sampler="dpmpp_2m",
        image=None,
        strength=0.8,
        mask=None,
        callback=None,
        guidance_rescale=0.0,
    ):
        """Draw a picture for each prompt. Returns a list of PIL pictures, each with .info["seed"].

        prompt, negative_prompt: a text or a list of B of them. guidance: how far to go from what
            the negative prompt gives towards, and past, what the prompt gives; 1: no guidance.
        seed: of the first picture; the next ones have seed + 1, … A list gives each its own, None
            draws one. A picture is the same alone or among others.
        size: pixels, one number or (width, height); what the model was trained for if None.
        image: a PIL picture, or a list of B: begin with it in place of noise, and take only the
            last `strength` (above 0, at most 1) of the steps.
        mask: a PIL picture, white where `image` is to be drawn anew.
        callback: called as callback(i, latents) in step i with the guess at the finished latents;
            `decode` makes pictures of them.
        guidance_rescale: from 0 to 1, how far guidance's answers are brought back to the spread of
            the answers without it; 0.7 suits models with zero terminal SNR.
        Raises ValueError for arguments that make no sense, MemoryError for too many or too large
        pictures.
        """
        prompts = as_list(prompt)
        seeds = check_seeds(seed, len(prompts))
        budget.check_room(self, size, len(prompts), guidance)
        height, width = self.latent_size(size)
        shape = 1, self.vae.config["latent_channels"], height, width
        # On the CPU: a GPU would draw other numbers, and so another picture.
        generators = [torch.Generator().manual_seed(s) for s in seeds]
        noise = torch.cat([torch.randn(shape, generator=g) for g in generators])
        noise = noise.to(self.unet.conv_in.weight)
        given = Given(self, image, mask, noise)
        skip = 0 if image is None else skipped(strength, steps)
        if not 0 <= guidance_rescale <= 1:
            raise ValueError(f"guidance_rescale {guidance_rescale!r} is not between 0 and 1")
        more = (guidance_rescale,) if guidance_rescale else ()
        model = self.guided(prompts, as_list(negative_prompt), guidance, given.channels, *more)
        start, known = given.begin(skip)
        with tqdm(total=steps - skip, unit="step", disable=None) as bar:

            def after_step(i, t, x_t, x0):
                bar.update()
                if callback is not None:
                    callback(i, x0)

            how = sampler, steps, self.prediction, self.spacing, self.offset, generators
            latents = sample(model, noise, self.schedule, *how, after_step, start, skip, known)
        pictures = given.paste(self.decode(latents))
        for picture, number in zip(pictures, seeds):
            picture.info["seed"] = number
        return pictures

    def estimate(self, size=None, count=1, steps=25, guidance=7.5, sampler="dpmpp_2m"):
        """What `count` pictures drawn at once take: a `budget.Estimate` of memory and time."""
        return budget.estimate(self, size, count, steps, guidance, sampler)

    def guided(self, prompts, negative_prompts, guidance, channels=None, rescale=0.0):
        """The U-Net with its prompts and guidance, as a function of x_t and t for `sample`.

        channels: [B, C, h, w] that models for inpainting also see. rescale: see guidance_rescale.
        """
        device, count = self.unet.conv_in.weight.device, len(prompts)
        if len(negative_prompts) not in (1, count):
            raise ValueError(
                f"{len(negative_prompts)} negative prompts for {count} prompts: give one, or one "
                "for each"
            )
        if len(negative_prompts) == 1:
            negative_prompts = count * negative_prompts
        both = guidance != 1
        texts = negative_prompts + prompts if both else prompts
        context = self.text_encoder(self.tokenizer(texts).to(device))  # [2B, L, D]

        def model(x_t, t):
            x = x_t if channels is None else torch.cat([x_t, channels], dim=1)
            if not both:
                return self.unet(x, t, context)
            output = self.unet(torch.cat([x, x]), torch.cat([t, t]), context)
            answer = guide(output, guidance)  # [2B, C, h, w] -> [B, C, h, w]
            return rescaled(answer, output.chunk(2)[1], rescale) if rescale else answer

        return model

    def encode(self, x):
        """Pictures [B, 3, H, W] to latents [B, C, H/f, W/f] whose spread is about 1."""
        large = max(x.shape[2:]) > LARGE * self.vae.downscale
        z = encode_tiled(self.vae, x) if large else self.vae.encode(x).mode()
        return z * self.vae.scaling_factor

    @torch.no_grad()
    def decode(self, latents):
        """Such latents [B, C, h, w] to a list of B PIL pictures."""
        z = latents / self.vae.scaling_factor
        if max(z.shape[2:]) > LARGE:
            return to_pil(decode_tiled(self.vae, z))
        at_once = max(1, LARGE**2 // z[0, 0].numel())  # for the memory's sake
        return [picture for part in z.split(at_once) for picture in to_pil(self.vae.decode(part))]

    def latent_size(self, size):
        """Height and width of the latents for a size in pixels (see `__call__`)."""
        f, config = self.vae.downscale, self.unet.config
        multiple = f * 2 ** (len(config["block_out_channels"]) - 1)
        if size is None and config["sample_size"] is None:
            raise ValueError("this model's config.json names no sample_size: give a size")
        size = f * config["sample_size"] if size is None else size
        width, height = size if isinstance(size, (tuple, list)) else (size, size)
        for side in (width, height):
            if type(side) is not int or side < 1 or side % multiple:
                lower = int(side) // multiple * multiple
                sizes = f"{lower} or {lower + multiple}" if lower > 0 else f"{multiple}"
                raise ValueError(
                    f"size {side!r} is not a multiple of {multiple} (the VAE shrinks pictures {f} "
                    f"times, and the U-Net what is left {multiple // f} times): try {sizes}"
                )
        return height // f, width // f


class Given:
    """The picture to begin with and its mask, if there are any, in pixels and in latents.

    channels: what a U-Net for inpainting sees beside x_t: mask and the latents of what is known.
    """

    def __init__(self, pipeline, image, mask, noise):
        self.latents = self.mask = self.channels = None
        inpainting = pipeline.unet.config["in_channels"] == 2 * noise.shape[1] + 1
        if mask is not None and image is None:
            raise ValueError("a mask says what of an image is drawn anew: give the image too")
        if inpainting and mask is None:
            raise ValueError("this model is for inpainting only: give it an image and a mask")
        if image is None:
            return
        f, images = pipeline.vae.downscale, as_list(image)
        if len(images) not in (1, len(noise)):
            raise ValueError(f"{len(images)} images for {len(noise)} prompts: give one, or as many")
        size = noise.shape[3] * f, noise.shape[2] * f
        self.pixels = [ImageOps.fit(to_rgb(picture), size) for picture in images]
        x = to_tensor(self.pixels).to(noise)
        self.latents = pipeline.encode(x).expand_as(noise)
        if mask is not None:
            self.picture_mask = ImageOps.fit(mask.convert("L"), size).point(
                lambda v: 255 * (v > 127)
            )
            anew = torch.from_numpy(np.asarray(self.picture_mask) > 127).to(noise)[None, None]
            self.mask = F.max_pool2d(anew, f)  # a place of the latents of which any pixel is
            if inpainting:
                known = pipeline.encode(x * (1 - anew)).expand_as(noise)
                mask = self.mask.expand(len(noise), -1, -1, -1)
                self.channels = torch.cat([mask, known], dim=1)

    def begin(self, skip):
        """What `sample` is to begin with, and its mask."""
        if self.mask is None:
            return self.latents, None
        # All steps: what was behind the mask is not to be seen.
        start = self.latents if skip else self.latents * (1 - self.mask)
        return start, None if self.channels is not None else self.mask

    def paste(self, pictures):
        """The drawn pictures where the mask is white, the given one elsewhere."""
        if self.mask is None:
            return pictures
        below = self.pixels * len(pictures) if len(self.pixels) == 1 else self.pixels
        return [Image.composite(a, b, self.picture_mask) for a, b in zip(pictures, below)]


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def skipped(strength, steps):
    """How many of the first steps are left out. Raises ValueError if none or no step is left."""
    taken = int(steps * strength) if 0 < strength <= 1 else 0
    if not taken:
        raise ValueError(
            f"strength {strength!r} of {steps} steps leaves none: it is in (0, 1], "
            f"and at least {1 / steps:.2g} for so many"
        )
    return steps - taken


def check_seeds(seed, count):
    """A seed for each picture. Raises ValueError for what is none."""
    if seed is None:
        seed = secrets.randbelow(2**32 - count)
    seeds = as_list(seed)
    if len(seeds) == 1:
        seeds = [seeds[0] + i if type(seeds[0]) is int else seeds[0] for i in range(count)]
    for number in seeds:
        if type(number) is not int or not 0 <= number < 2**63:
            raise ValueError(f"seed {number!r} is not a whole number, 0 or more")
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} prompts: give one, or one for each")
    return seeds
