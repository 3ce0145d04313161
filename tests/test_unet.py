"""The U-Net is diffusers' two U-Nets: names, shapes, outputs, gradients; and says no clearly."""

import json
import logging

import diffusers
import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock as TheirTransformerBlock
from diffusers.models.attention_processor import Attention as TheirAttention
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D as TheirResnetBlock
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlearn import layers
from sdlearn.data import data_folder
from sdlearn.unet import UNet

logging.getLogger("diffusers").setLevel(logging.ERROR)

# The configuration that the syllabus names: six stages for 64 × 64 pictures, 113.7 M parameters.
SIX = dict(
    sample_size=64,
    block_out_channels=(128, 128, 256, 256, 512, 512),
    down_block_types=4 * ("DownBlock2D",) + ("AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D") + 4 * ("UpBlock2D",),
)
PLAIN = {
    "defaults, narrow": dict(block_out_channels=(32, 64, 64, 96), norm_num_groups=16),
    "as the first DDPM weights": dict(
        block_out_channels=(16, 32, 32),
        norm_num_groups=8,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ),
    "other norms, no attention in the middle": dict(
        block_out_channels=(16, 24),
        norm_num_groups=4,
        norm_eps=1e-3,
        layers_per_block=1,
        add_attention=False,
        time_embedding_dim=40,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D"),
    ),
    "groups of its own in the middle": dict(
        block_out_channels=(16, 32),
        norm_num_groups=8,
        attn_norm_num_groups=2,
        attention_head_dim=16,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ),
    "six stages, narrow": {
        **SIX,
        "block_out_channels": (8, 8, 16, 16, 32, 32),
        "norm_num_groups": 4,
        "layers_per_block": 1,
    },
}
NARROW = dict(block_out_channels=(32, 64, 96, 96), norm_num_groups=16, cross_attention_dim=20)
WORDS = {
    "as 1.5, narrow": dict(**NARROW, attention_head_dim=8),
    "as 2.1, narrow": dict(
        **NARROW,
        attention_head_dim=(2, 4, 6, 6),
        use_linear_projection=True,
        upcast_attention=True,
    ),
    "for inpainting": dict(**NARROW, in_channels=9, attention_head_dim=4),
    "each level its own": dict(
        **NARROW,
        layers_per_block=(1, 2, 1, 3),
        transformer_layers_per_block=(1, 2, 1, 2),
        attention_head_dim=(4, 8, 4, 8),
    ),
    "both kinds of attention": dict(
        block_out_channels=(16, 32),
        norm_num_groups=8,
        cross_attention_dim=12,
        attention_head_dim=8,
        down_block_types=("AttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "AttnUpBlock2D"),
    ),
}
ALL = {**{k: ("UNet2DModel", v) for k, v in PLAIN.items()}}
ALL |= {k: ("UNet2DConditionModel", v) for k, v in WORDS.items()}


def both(kind, config, seed=0):
    """diffusers' U-Net with weights that are no defaults (biases are not 0), and ours."""
    torch.manual_seed(seed)
    theirs = getattr(diffusers, kind)(**config).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    ours = UNet.from_config(json.loads(theirs.to_json_string()))
    ours.load_state_dict(theirs.state_dict())  # strict: the same names and shapes
    return theirs, ours.eval()


def inputs(theirs, batch=2, size=(16, 16)):
    config = theirs.config
    shrink = 2 ** (len(config.block_out_channels) - 1)
    height, width = (max(side, 2 * shrink) for side in size)
    x = torch.randn(batch, config.in_channels, height, width)
    t = torch.randint(0, 1000, (batch,))
    dim = config.get("cross_attention_dim")
    return (x, t, torch.randn(batch, 7, dim)) if dim else (x, t)


def relative(got, expected):
    """The largest difference, in units of the largest number."""
    return float((got - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("name", ALL)
def test_outputs_and_gradients_are_those_of_diffusers(name):
    theirs, ours = both(*ALL[name])
    arguments = inputs(theirs, size=(32, 24))
    expected, got = theirs(*arguments).sample, ours(*arguments)
    assert relative(got, expected) < 1e-5
    expected.square().mean().backward()
    got.square().mean().backward()
    wanted = {n: p.grad for n, p in theirs.named_parameters()}
    found = {n: p.grad for n, p in ours.named_parameters()}
    # Against the largest gradient of all: that of a key's bias is 0 but for rounding.
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).abs().max()) < 1e-5 * largest, name


@settings(max_examples=12, deadline=None)
@given(
    words=st.booleans(),
    sizes=st.lists(st.sampled_from([8, 16, 24]), min_size=1, max_size=3),
    layers=st.integers(1, 2),
    attention=st.lists(st.booleans(), min_size=3, max_size=3),
    head=st.sampled_from([2, 4, 8]),
    linear=st.booleans(),
    batch=st.integers(1, 3),
)
def test_any_configuration(words, sizes, layers, attention, head, linear, batch):
    kinds = ["CrossAttn" if words else "Attn" if on else "" for on in attention[: len(sizes)]]
    kinds = [kind if on else "" for kind, on in zip(kinds, attention)]
    config = dict(
        block_out_channels=sizes,
        layers_per_block=layers,
        norm_num_groups=4,
        attention_head_dim=head,
        down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
    )
    if words:
        config |= dict(cross_attention_dim=10, use_linear_projection=linear)
    theirs, ours = both("UNet2DConditionModel" if words else "UNet2DModel", config)
    arguments = inputs(theirs, batch)
    with torch.no_grad():
        assert relative(ours(*arguments), theirs(*arguments).sample) < 1e-5


def shapes(model):
    return {name: list(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("number, millions", [(1, 859.5), (2, 865.9)])
def test_full_size_stable_diffusion(number, millions):
    (path,) = data_folder("configs").glob(f"{number}_*.json")
    config = json.loads(path.read_text(encoding="utf-8"))["parts"][0]["config"]
    with torch.device("meta"):
        ours, theirs = UNet.from_config(config), diffusers.UNet2DConditionModel(**config)
        assert shapes(ours) == shapes(theirs)
        assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
        x, context = torch.empty(1, 4, 64, 64), torch.empty(1, 77, config["cross_attention_dim"])
        assert ours(x, torch.zeros(1), context).shape == x.shape


def test_full_size_six_stages():
    with torch.device("meta"):
        ours, theirs = UNet.from_config(SIX), diffusers.UNet2DModel(**SIX)
    assert shapes(ours) == shapes(theirs)
    assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(113.7, abs=0.05)


def test_a_published_config_json_with_all_its_settings():
    for kind in ("UNet2DModel", "UNet2DConditionModel"):
        with torch.device("meta"):
            theirs = getattr(diffusers, kind)()
            ours = UNet.from_config(json.loads(theirs.to_json_string()))
        assert shapes(ours) == shapes(theirs)
        # And what we keep can be given to diffusers.
        with torch.device("meta"):
            again = getattr(diffusers, kind).from_config(dict(ours.config))
        assert shapes(again) == shapes(theirs)


def test_dropout_is_where_diffusers_has_it():
    def dropouts(model):
        found = {n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
        return {name: p for name, p in found.items() if p > 0}

    theirs, ours = both("UNet2DModel", {**PLAIN["defaults, narrow"], "dropout": 0.3})
    assert dropouts(ours) == dropouts(theirs) != {}
    x, t = inputs(theirs)
    assert not torch.equal(ours.train()(x, t), ours(x, t))


# Refusals


@pytest.mark.parametrize(
    "setting, value",
    [
        ("act_fn", "gelu"),
        ("time_embedding_type", "fourier"),
        ("class_embed_type", "timestep"),
        ("resnet_time_scale_shift", "scale_shift"),
        ("down_block_types", 4 * ["ResnetDownsampleBlock2D"]),
        ("up_block_types", 3 * ["UpBlock2D"]),
        ("mid_block_type", None),
        ("norm_num_groups", 7),
        ("norm_num_groups", None),
        ("block_out_channels", [32, 64]),
        ("num_layers", 3),
        ("cross_attention_dim", [20, 20, 20, 20]),
        ("_class_name", "AutoencoderKL"),
    ],
)
def test_what_it_does_not_have_is_refused_by_name(setting, value):
    config = {"_class_name": "UNet2DModel", **PLAIN["defaults, narrow"], setting: value}
    with pytest.raises(ValueError, match="AutoencoderKL" if setting[0] == "_" else setting):
        UNet.from_config(config)


def test_heads_must_divide_channels():
    config = dict(**NARROW, attention_head_dim=(5, 4, 4, 4))
    with pytest.raises(ValueError, match="attention_head_dim"):
        UNet.from_config(config)


def test_cross_attention_blocks_need_the_class_that_has_them():
    config = {**PLAIN["defaults, narrow"], "_class_name": "UNet2DModel"}
    config["down_block_types"] = ["CrossAttnDownBlock2D", *3 * ["DownBlock2D"]]
    with pytest.raises(ValueError, match="CrossAttnDownBlock2D"):
        UNet.from_config(config)


@pytest.fixture(scope="module")
def narrow():
    return UNet.from_config(WORDS["as 1.5, narrow"])


@pytest.mark.parametrize(
    "x, t, context, message",
    [
        ((2, 4, 20, 16), 5, (2, 7, 20), "size 20 is not a multiple of 8.*try 16 or 24"),
        ((2, 4, 16, 5), 5, (2, 7, 20), "size 5 is not a multiple of 8.*try 8"),
        ((2, 3, 16, 16), 5, (2, 7, 20), r"\[2, 3, 16, 16\].*\[B, 4, H, W\]"),
        ((4, 16, 16), 5, (2, 7, 20), r"\[B, 4, H, W\]"),
        ((2, 4, 16, 16), [1, 2, 3], (2, 7, 20), r"t has shape \[3\]"),
        ((2, 4, 16, 16), 5, None, "none was given"),
        ((2, 4, 16, 16), 5, (2, 7, 21), r"\[2, 7, 21\]"),
        ((2, 4, 16, 16), 5, (3, 7, 20), r"\[3, 7, 20\]"),
    ],
)
def test_inputs_that_do_not_fit(narrow, x, t, context, message):
    context = context and torch.randn(context)
    with pytest.raises(ValueError, match=message):
        narrow(torch.randn(x), torch.tensor(t), context)


def test_a_context_where_there_is_no_use_for_it():
    unet = UNet.from_config(PLAIN["as the first DDPM weights"])
    with pytest.raises(ValueError, match="takes no context"):
        unet(torch.randn(1, 3, 8, 8), torch.tensor([1]), torch.randn(1, 2, 3))


def test_one_timestep_for_all_pictures(narrow):
    x, context = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 20)
    with torch.no_grad():
        expected = narrow(x, torch.tensor([7, 7]), context)
        for t in (7, torch.tensor(7), torch.tensor([7])):
            assert torch.equal(narrow(x, t, context), expected)


# Layers


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("dim", [6, 33, 320])
def test_timestep_embedding_exactly(flip, shift, dim):
    t = torch.tensor([0, 1, 17, 500, 999])
    expected = get_timestep_embedding(t, dim, flip, shift)
    assert torch.equal(layers.timestep_embedding(t, dim, flip, shift), expected)


@pytest.mark.parametrize("out", [32, 48])
@pytest.mark.parametrize("temb", [None, 20])
def test_residual_block(out, temb):
    theirs = TheirResnetBlock(
        in_channels=32, out_channels=out, temb_channels=temb, groups=8, eps=1e-3
    )
    ours = layers.ResnetBlock2D(32, out, temb, groups=8, eps=1e-3)
    ours.load_state_dict(theirs.state_dict())
    x, when = torch.randn(2, 32, 6, 5), torch.randn(2, 20) if temb else None
    assert relative(ours(x, when), theirs(x, when)) < 1e-5


def test_attention_and_transformer_block():
    theirs = TheirAttention(24, cross_attention_dim=10, heads=3, dim_head=5)
    ours = layers.Attention(24, 10, heads=3, dim_head=5)
    ours.load_state_dict(theirs.state_dict())
    x, context = torch.randn(2, 9, 24), torch.randn(2, 4, 10)
    assert relative(ours(x, context), theirs(x, context)) < 1e-5

    theirs = TheirTransformerBlock(24, 3, 8, cross_attention_dim=10)
    ours = layers.BasicTransformerBlock(24, 10, 3, 8)
    ours.load_state_dict(theirs.state_dict())
    assert relative(ours(x, context), theirs(x, encoder_hidden_states=context)) < 1e-5


@pytest.mark.parametrize("batch, size", [(1, 4), (1, 32), (16, 8), (3, 19)])
def test_both_ways_of_doubling_the_size_agree(batch, size):
    """The shorter way is taken from 1024 places on; it gives the same picture and gradients."""
    torch.manual_seed(0)
    upsample = layers.Upsample2D(6).double()
    x = torch.randn(batch, 6, size, size + 1, dtype=torch.float64, requires_grad=True)
    plain = upsample.conv(torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
    kernel = layers.upsampling_kernel(upsample.conv.weight)
    short = torch.nn.functional.conv_transpose2d(x, kernel, upsample.conv.bias, 2, 1)
    direction = torch.randn_like(plain)
    for other in (short, upsample(x)):
        assert torch.allclose(plain, other, atol=1e-12)
        for wanted, got in zip(
            torch.autograd.grad(
                (plain * direction).sum(), [x, *upsample.parameters()], retain_graph=True
            ),
            torch.autograd.grad(
                (other * direction).sum(), [x, *upsample.parameters()], retain_graph=True
            ),
        ):
            assert torch.allclose(wanted, got, atol=1e-10)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_the_gpu(dtype):
    theirs, ours = both(*ALL["as 1.5, narrow"])
    arguments = [a.cuda() for a in inputs(theirs)]
    with torch.no_grad():
        expected = theirs.cuda()(*arguments).sample
        with torch.autocast("cuda", dtype):
            got = ours.cuda()(*arguments)
    # bfloat16 keeps eight bits: a hundredth, some layers deep.
    assert relative(got.float(), expected) < 0.05
