"""Guidance, dropped captions, and the record of what cross-attention looks at."""

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from sdlearn.guidance import (
    attention_weights,
    drop_captions,
    guide,
    rescaled,
    watched,
    word_map,
)
from sdlearn.layers import Attention
from sdlearn.unet import UNet

CONFIG = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}


def test_guide_goes_from_the_first_half_to_the_second_and_beyond():
    without, with_prompt = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    output = torch.cat([without, with_prompt])
    assert torch.equal(guide(output, 0), without)
    torch.testing.assert_close(guide(output, 1), with_prompt)
    torch.testing.assert_close(guide(output, 3), 3 * with_prompt - 2 * without)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rescaled_brings_the_spread_back_as_diffusers_does(share):
    with_prompt = torch.randn(3, 4, 5, 5) * torch.tensor([0.5, 1, 3])[:, None, None, None]
    guided = 2 + 4 * torch.randn(3, 4, 5, 5)
    got = rescaled(guided, with_prompt, share)
    torch.testing.assert_close(got, rescale_noise_cfg(guided, with_prompt, share))
    if share == 1:
        spread = [x.flatten(1).std(dim=1) for x in (got, with_prompt)]
        torch.testing.assert_close(*spread)


def test_captions_are_dropped_whole_in_about_the_share_asked_for():
    context, empty = torch.randn(4000, 3, 2), torch.zeros(1, 3, 2)
    found = drop_captions(context, empty, 0.1, torch.Generator().manual_seed(0))
    gone = (found == 0).flatten(1).all(dim=1)
    assert 300 < gone.sum() < 500  # 400 expected, the standard deviation is 19
    assert torch.equal(found[~gone], context[~gone])
    assert torch.equal(drop_captions(context, empty, 0.0), context)
    assert not drop_captions(context, empty, 1.0).any()


def test_the_watched_weights_are_those_that_the_layer_uses():
    layer = Attention(16, context_dim=12, heads=2, dim_head=8)
    unet = torch.nn.ModuleDict({"attn2": layer})
    x, context = torch.randn(3, 6, 16), torch.randn(3, 5, 12)
    with watched(unet) as seen:
        out = layer(x, context)
    values = layer.to_v(context).unflatten(2, (2, 8)).transpose(1, 2)  # [B, heads, M, d]
    ours = layer.to_out[0]((seen[0] @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours, out, atol=1e-5, rtol=1e-4)


def test_watched_keeps_cross_attention_only_and_leaves_no_hook():
    unet = UNet.from_config(CONFIG).eval()
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 12)
    with torch.no_grad(), watched(unet) as seen:
        during = unet(x, t, context)
        number = len(seen)
        unet(x, t, context)
    assert len(seen) == 2 * number == 8  # down 1, middle 1, up 2
    assert {table.shape[2:] for table in seen} == {(64, 5), (16, 5)}
    with torch.no_grad():
        assert torch.equal(unet(x, t, context), during)
    assert len(seen) == 8


def test_watched_leaves_no_hook_after_an_error():
    unet = UNet.from_config(CONFIG)
    with pytest.raises(ValueError, match="context"), watched(unet):
        unet(torch.randn(1, 4, 8, 8), torch.tensor([3]))
    assert not any(module._forward_hooks for module in unet.modules())


def test_a_word_of_two_tokens_gets_what_both_get():
    weights = attention_weights(torch.randn(2, 3, 12, 4), torch.randn(2, 3, 5, 4))
    torch.testing.assert_close(
        word_map(weights, [1, 2], (3, 4)),
        word_map(weights, [1], (3, 4)) + word_map(weights, [2], (3, 4)),
    )
    everything = word_map(weights, list(range(5)), (3, 4))
    torch.testing.assert_close(everything, torch.ones(2, 3, 4))
    place = word_map(weights, [4], (3, 4))[1, 2, 1]  # row 2, column 1 is place 9
    torch.testing.assert_close(place, weights[1, :, 9, 4].mean())
