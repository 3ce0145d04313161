"""The configurations of U-Nets that diffusers writes: checked, with the defaults filled in."""

from sdlearn.configs import fill

PLAIN = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownBlock2D",) + 3 * ("AttnDownBlock2D",),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": 3 * ("AttnUpBlock2D",) + ("UpBlock2D",),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "add_attention": True,
    "attn_norm_num_groups": None,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "downsample_padding": 1,
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "time_embedding_dim": None,
    "cross_attention_dim": None,
    "sample_size": None,
}
CONDITIONAL = {
    **PLAIN,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": 3 * ("CrossAttnDownBlock2D",) + ("DownBlock2D",),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("UpBlock2D",) + 3 * ("CrossAttnUpBlock2D",),
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "use_linear_projection": False,
}

# Settings that this U-Net has in one form only.
ONLY = {
    "act_fn": "silu",
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "downsample_type": "conv",
    "upsample_type": "conv",
    "mid_block_scale_factor": 1,
    "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1,
    "only_cross_attention": False,
    "mid_block_only_cross_attention": None,
    "dual_cross_attention": False,
    "cross_attention_norm": None,
    "attention_type": "default",
    "num_attention_heads": None,
    "reverse_transformer_layers_per_block": None,
    "class_embed_type": None,
    "num_class_embeds": None,
    "class_embeddings_concat": False,
    "projection_class_embeddings_input_dim": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}

# What a config.json says beside that. It changes nothing here.
REMARKS = "num_train_timesteps", "upcast_attention", "addition_embed_type_num_heads"
# Settings that may be a list with one for each level.
BY_LEVEL = ("layers_per_block", "attention_head_dim", "transformer_layers_per_block")
KINDS = {"UNet2DModel": PLAIN, "UNet2DConditionModel": CONDITIONAL}


def complete(config):
    """A checked copy of the `config.json` of a diffusers U-Net (a dict), defaults filled in.

    Which of the two classes it is for says `_class_name`, or else whether it has settings of
    cross-attention. Raises ValueError, naming it, for a setting that `unet.UNet` does not have.
    """
    kind = config.get("_class_name")
    if kind is None:
        words = set(config) & (set(CONDITIONAL) - set(PLAIN)) or config.get("cross_attention_dim")
        kind = "UNet2DConditionModel" if words else "UNet2DModel"
    if kind not in KINDS:
        raise ValueError(f"this is the configuration of a {kind}, not of a {' or '.join(KINDS)}")
    full = fill(config, {**KINDS[kind], "_class_name": kind}, ONLY, REMARKS, "a U-Net's")
    _check(full, KINDS[kind])
    return full


def _check(config, defaults):
    """Raises ValueError where settings do not go together."""
    sizes = config["block_out_channels"]
    for name in ("down_block_types", "up_block_types"):
        way = name.split("_")[0].capitalize()  # Down or Up
        known = [f"{way}Block2D", f"Attn{way}Block2D"]
        known += [f"CrossAttn{way}Block2D"] * (defaults is CONDITIONAL)
        for block in config[name]:
            if block not in known:
                raise ValueError(f"{name} has {block!r}; there is {', '.join(known)}")
    for name in ("down_block_types", "up_block_types", *BY_LEVEL):
        value = config.get(name)
        if isinstance(value, (list, tuple)) and len(value) != len(sizes):
            raise ValueError(
                f"{name} has {len(value)} entries, block_out_channels {len(sizes)}: one for each "
                "level is expected"
            )
    if config["mid_block_type"] != defaults["mid_block_type"]:
        raise ValueError(
            f"mid_block_type = {config['mid_block_type']!r} is not built here, only "
            f"{defaults['mid_block_type']!r}"
        )
    dim = config["cross_attention_dim"]
    if dim is not None and not isinstance(dim, int):
        raise ValueError(
            f"cross_attention_dim = {dim!r} is not built here, only one for all levels"
        )
    groups = config["norm_num_groups"]
    for size in sizes:
        if not groups or size < 1 or size % groups:
            raise ValueError(
                f"{size} channels cannot be divided into norm_num_groups = {groups} groups"
            )
    for level, kinds in enumerate(zip(config["down_block_types"], config["up_block_types"][::-1])):
        heads = config["attention_head_dim"]
        heads = heads[level] if isinstance(heads, (list, tuple)) else heads
        attention = heads is not None and any("Attn" in kind for kind in kinds)
        if attention and (heads < 1 or sizes[level] % heads):
            raise ValueError(
                f"{sizes[level]} channels cannot be divided by attention_head_dim = {heads}"
            )
