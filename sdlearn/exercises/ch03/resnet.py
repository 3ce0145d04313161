"""Chapter 03: the exercise `unet.resnet`."""

import torch
import torch.nn.functional as F

from sdlearn import layers
from sdlearn.exercises.bank import Case, Exercise


def _block(channels_in, channels, **more):
    block = layers.ResnetBlock2D(channels_in, channels, 12, groups=4, eps=1e-2, **more)
    for parameter in block.parameters():  # norms and biases that are not 1 and 0
        parameter.data += 0.3 * torch.randn_like(parameter)
    return block


def _block_cases():
    temb = torch.randn(2, 12)
    yield Case((_block(8, 8), torch.randn(2, 8, 5, 4), temb.clone()),
               "the number of channels stays")  # fmt: skip
    yield Case((_block(8, 16), torch.randn(2, 8, 5, 4), temb.clone()),
               "the number of channels changes")  # fmt: skip
    yield Case((_block(8, 8, dropout=0.5), torch.randn(2, 8, 5, 4), temb.clone()),
               "dropout is on")  # fmt: skip


def _short(block, x):
    return x if block.conv_shortcut is None else block.conv_shortcut(x)


def _resnet(
    first=lambda b, x: b.conv1(F.silu(b.norm1(x))),
    when=lambda b, temb: b.time_emb_proj(F.silu(temb)),
    add=lambda h, when: h + when[:, :, None, None],
    second=lambda b, h: b.conv2(b.dropout(F.silu(b.norm2(h)))),
    join=lambda h, old, x: old + h,
    short=_short,
):
    """A ResnetBlock2D.forward from its pieces: the right ones unless another is given."""

    def answer(self, x, temb):
        h = add(first(self, x), when(self, temb))
        return join(second(self, h), short(self, x), x)

    return answer


def _time_last(self, x, temb):
    h = self.conv1(F.silu(self.norm1(x)))
    h = self.conv2(self.dropout(F.silu(self.norm2(h))))
    return h + self.time_emb_proj(F.silu(temb))[:, :, None, None] + _short(self, x)


RESNET = Exercise(
    "unet.resnet",
    reference=layers.ResnetBlock2D.forward,
    cases=_block_cases,
    hints=[
        "Two halves alike: norm, SiLU, convolution. The time comes between them, x at the end.",
        "First half: h = self.conv1(F.silu(self.norm1(x))). The time: self.time_emb_proj(F.silu("
        "temb)) is [B, C_out]; [:, :, None, None] makes it [B, C_out, 1, 1], to be added.",
        "Second half: h = self.conv2(self.dropout(F.silu(self.norm2(h)))).",
        "Return h + x, or, where self.conv_shortcut is not None, h + self.conv_shortcut(x).",
    ],
    mistakes={
        "The short cut is missing: what came in has to be added at the end.": _resnet(
            join=lambda h, old, x: h
        ),
        "The time is left out: add self.time_emb_proj(F.silu(temb)) "
        "between the two halves.": _resnet(add=lambda h, when: h),
        "The time goes into its layer without its SiLU: self.time_emb_proj(F.silu(temb)).": _resnet(
            when=lambda b, temb: b.time_emb_proj(temb)
        ),
        "SiLU comes before the time's layer, not "
        "after it: self.time_emb_proj(F.silu(temb)).": _resnet(
            when=lambda b, temb: F.silu(b.time_emb_proj(temb))
        ),
        "The time is multiplied; it has to be added.": _resnet(
            add=lambda h, when: h * when[:, :, None, None]
        ),
        "The time is added too late: it belongs between the two halves.": _time_last,
        "The time is added after norm2; it comes before it, right after conv1.": _resnet(
            first=lambda b, x: b.norm2(b.conv1(F.silu(b.norm1(x)))),
            second=lambda b, h: b.conv2(b.dropout(F.silu(h))),
        ),
        "SiLU comes after the norm, not before it: self.conv1(F.silu(self.norm1(x))), and the "
        "same in the second half.": _resnet(
            first=lambda b, x: b.conv1(b.norm1(F.silu(x))),
            second=lambda b, h: b.conv2(b.dropout(b.norm2(F.silu(h)))),
        ),
        "Here SiLU comes last in each half, after the convolution. The order is norm, SiLU, "
        "convolution.": _resnet(
            first=lambda b, x: F.silu(b.conv1(b.norm1(x))),
            second=lambda b, h: F.silu(b.conv2(b.dropout(b.norm2(h)))),
        ),
        "The first SiLU is missing, before conv1.": _resnet(first=lambda b, x: b.conv1(b.norm1(x))),
        "The second SiLU is missing, before conv2.": _resnet(
            second=lambda b, h: b.conv2(b.dropout(b.norm2(h)))
        ),
        "norm1 is left out, before the first SiLU.": _resnet(first=lambda b, x: b.conv1(F.silu(x))),
        "norm2 is left out, before the second SiLU.": _resnet(
            second=lambda b, h: b.conv2(b.dropout(F.silu(h)))
        ),
        "ReLU in place of SiLU: F.silu(h) is h · sigmoid(h).": _resnet(
            first=lambda b, x: b.conv1(F.relu(b.norm1(x))),
            when=lambda b, temb: b.time_emb_proj(F.relu(temb)),
            second=lambda b, h: b.conv2(b.dropout(F.relu(b.norm2(h)))),
        ),
        "The short cut carries norm1's output; it should carry x as it came in.": _resnet(
            short=lambda b, x: _short(b, b.norm1(x))
        ),
        "Right but for dropout: it comes before conv2, self.conv2(self.dropout(…)).": _resnet(
            second=lambda b, h: b.conv2(F.silu(b.norm2(h)))
        ),
        "The sum is divided by √2. Some networks do; this one leaves it.": _resnet(
            join=lambda h, old, x: (old + h) / 2**0.5
        ),
        "The short cut carries what conv1 gets; it should carry x as it came in. Was x "
        "overwritten?": _resnet(short=lambda b, x: _short(b, F.silu(b.norm1(x)))),
    },
)
