"""One file with all of a Stable Diffusion model in it, as CompVis and Stability AI publish them.

The same networks under other names. Which network a file holds is read off its keys and shapes;
what those cannot tell (how many heads, what the output means) has the values of Stable Diffusion,
unless a `.yaml` of the same name lies beside the file, or the caller says otherwise.
"""

from collections import namedtuple

import torch

# Where the three networks are in the file; the text encoder of 2.x is OpenCLIP's.
UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT, OPEN_TEXT = "cond_stage_model.transformer.", "cond_stage_model.model."
AVERAGE = "model_ema."  # the U-Net's averaged weights, in names without dots

# The tensor of the file, which third of it (None: all), and whether it is a 1 × 1 convolution.
Place = namedtuple("Place", ["name", "third", "conv"], defaults=(None, False))

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
RESNET |= {"norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
VAE_RESNET = {"conv_shortcut": "nin_shortcut"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v"}
VAE_ATTENTION |= {"to_out.0": "proj_out"}
OPEN_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc"}
OPEN_LAYER |= {"mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
OPEN_ENDS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}


def unet_blocks(config):
    """{our name of a part of the U-Net: theirs}: theirs are numbered from the input on."""
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    names = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    names |= {f"time_embedding.linear_{k}": f"time_embed.{2 * k - 2}" for k in (1, 2)}
    names |= {"mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": "middle_block.2"}
    names["mid_block.attentions.0"] = "middle_block.1"
    for level in range(levels):
        first, up = 1 + level * (layers + 1), level * (layers + 1)
        for k in range(layers):
            names[f"down_blocks.{level}.resnets.{k}"] = f"input_blocks.{first + k}.0"
            names[f"down_blocks.{level}.attentions.{k}"] = f"input_blocks.{first + k}.1"
        names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{first + layers}.0.op"
        for k in range(layers + 1):
            names[f"up_blocks.{level}.resnets.{k}"] = f"output_blocks.{up + k}.0"
            names[f"up_blocks.{level}.attentions.{k}"] = f"output_blocks.{up + k}.1"
        last = 2 if "Attn" in config["up_block_types"][level] else 1
        names[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{up + layers}.{last}.conv"
    return names


def vae_blocks(config):
    """The same of the autoencoder: its way up is numbered from the output on."""
    layers, levels, names = config["layers_per_block"], len(config["block_out_channels"]), {}
    for side, way, count in (("encoder", "down", layers), ("decoder", "up", layers + 1)):
        names |= {f"{side}.{name}": f"{side}.{name}" for name in ("conv_in", "conv_out")}
        names[f"{side}.conv_norm_out"] = f"{side}.norm_out"
        for k in (0, 1):
            names[f"{side}.mid_block.resnets.{k}"] = f"{side}.mid.block_{k + 1}"
        names[f"{side}.mid_block.attentions.0"] = f"{side}.mid.attn_1"
        for level in range(levels):
            ours = f"{side}.{way}_blocks.{level}"
            theirs = f"{side}.{way}.{level if way == 'down' else levels - 1 - level}"
            names |= {f"{ours}.resnets.{k}": f"{theirs}.block.{k}" for k in range(count)}
            names[f"{ours}.{way}samplers.0.conv"] = f"{theirs}.{way}sample.conv"
    return names | {name: name for name in ("quant_conv", "post_quant_conv")}


def renamed(key, blocks, inner):
    """Our key in their names. inner: {a part of a block's name: {our layer: theirs}}."""
    block = max((name for name in blocks if key.startswith(name + ".")), key=len)
    rest, kind = key[len(block) + 1 :].rpartition(".")[::2]  # layer; weight or bias
    for part, layers in inner.items():
        if part in block:
            rest = layers.get(rest, rest)
    return ".".join(filter(None, (blocks[block], rest, kind)))


def unet_places(unet):
    """{our key: Place} of a `UNet`, without `UNET` in front."""
    blocks = unet_blocks(unet.config)
    return {key: Place(renamed(key, blocks, {".resnets.": RESNET})) for key in unet.state_dict()}


def vae_places(vae):
    """The same of an `AutoencoderKL`. Its attention is of 1 × 1 convolutions in their file."""
    blocks = vae_blocks(vae.config)
    inner = {".resnets.": VAE_RESNET, ".attentions.": VAE_ATTENTION}
    return {
        key: Place(renamed(key, blocks, inner), None, ".attentions." in key and x.dim() == 2)
        for key, x in vae.state_dict().items()
    }


def text_places(text):
    """The same of a `CLIPTextModel` of 1.x: nothing is renamed."""
    return {key: Place(key) for key in text.state_dict()}


def open_text_places(text):
    """The same of one of 2.x, where queries, keys and values come from one matrix."""
    places = {ours: Place(theirs) for ours, theirs in OPEN_ENDS.items()}
    for key in text.state_dict():
        if key in places:
            continue
        number, rest = key.removeprefix("text_model.encoder.layers.").split(".", 1)
        layer, kind = rest.rpartition(".")[::2]
        block = f"transformer.resblocks.{number}"
        if layer in OPEN_LAYER:
            places[key] = Place(f"{block}.{OPEN_LAYER[layer]}.{kind}")
        else:
            third = ("q_proj", "k_proj", "v_proj").index(layer.removeprefix("self_attn."))
            places[key] = Place(f"{block}.attn.in_proj_{kind}", third)
    return places


def their_shape(place, shape):
    """The shape of their tensor, where ours has `shape`."""
    if place.third is not None:
        return 3 * shape[0], *shape[1:]
    return (*shape, 1, 1) if place.conv else tuple(shape)


def ours(tensor, place):
    """Our tensor out of theirs."""
    if place.third is not None:
        tensor = tensor.chunk(3)[place.third].clone()
    return tensor.flatten(1) if place.conv else tensor


def theirs(tensors, places, prefix):
    """{their key: tensor} of {our key: tensor}: the reverse, thirds put together."""
    found, thirds = {}, {}
    for key, place in places.items():
        x = tensors[key]
        if place.third is not None:
            thirds.setdefault(prefix + place.name, {})[place.third] = x
        else:
            found[prefix + place.name] = x[:, :, None, None] if place.conv else x
    return found | {name: torch.cat([x[k] for k in range(3)]) for name, x in thirds.items()}


def average_name(name):
    """The name of the averaged weight of one of the U-Net (`name` begins with `UNET`)."""
    return AVERAGE + name.removeprefix("model.").replace(".", "")


# --- what the shapes tell -------------------------------------------------------------------------


def numbered(shapes, pattern):
    """How many of a pattern with {} for a number there are, from 0 on."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count


def unet_config(shapes, second):
    """The `config.json` of the U-Net whose tensors have these shapes ({name: shape}).

    second: whether it is of the 2.x family, which has heads of 64 channels; 1.x has 8 heads.
    """
    levels, k = [[]], 1  # of each level the blocks: channels, and whether there is attention
    while f"input_blocks.{k}.0.in_layers.2.weight" in shapes or (
        f"input_blocks.{k}.0.op.weight" in shapes
    ):
        if f"input_blocks.{k}.0.op.weight" in shapes:
            levels.append([])
        else:
            channels = shapes[f"input_blocks.{k}.0.out_layers.3.weight"][0]
            levels[-1].append((channels, f"input_blocks.{k}.1.proj_in.weight" in shapes))
        k += 1
    attention = [level[0][1] for level in levels]
    sizes = [level[0][0] for level in levels]
    keys = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]],
        "block_out_channels": sizes,
        "layers_per_block": len(levels[0]),
        "attention_head_dim": [max(1, size // 64) for size in sizes] if second else 8,
        "cross_attention_dim": shapes[keys][1],
        "use_linear_projection": len(shapes["middle_block.1.proj_in.weight"]) == 2,
    }


def vae_config(shapes):
    """The `config.json` of the autoencoder of these shapes."""
    levels = numbered(shapes, "encoder.down.{}.block.0.conv2.weight")
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "block_out_channels": [
            shapes[f"encoder.down.{k}.block.0.conv2.weight"][0] for k in range(levels)
        ],
        "down_block_types": levels * ["DownEncoderBlock2D"],
        "up_block_types": levels * ["UpDecoderBlock2D"],
        "layers_per_block": numbered(shapes, "encoder.down.0.block.{}.conv2.weight"),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "mid_block_add_attention": "encoder.mid.attn_1.q.weight" in shapes,
        "sample_size": 512,
        "scaling_factor": 0.18215,
    }


def text_config(shapes):
    """The `config.json` of the text encoder of these shapes, of 1.x or (OpenCLIP) 2.x.

    In 2.x the last layer is left out: the U-Net was trained on what the one before it says.
    """
    second = "token_embedding.weight" in shapes
    if second:
        tokens, places = shapes["token_embedding.weight"], shapes["positional_embedding"]
        inner = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
        layers = numbered(shapes, "transformer.resblocks.{}.ln_1.weight") - 1
    else:
        embeddings = "text_model.embeddings.{}_embedding.weight"
        tokens, places = (shapes[embeddings.format(name)] for name in ("token", "position"))
        inner = shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0]
        layers = numbered(shapes, "text_model.encoder.layers.{}.layer_norm1.weight")
    return {
        "model_type": "clip_text_model",
        "vocab_size": tokens[0],
        "hidden_size": tokens[1],
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, tokens[1] // 64),
        "max_position_embeddings": places[0],
        "hidden_act": "gelu" if second else "quick_gelu",
    }
