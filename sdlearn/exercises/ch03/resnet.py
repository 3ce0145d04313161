"""Chapter 03: the exercise `unet.resnet`."""

import torch
import torch.nn.functional as F

from sdlearn import layers
from sdlearn.exercises.bank import Case, Exercise, slopes
from sdlearn.exercises.ch03.common import closed


def _block(channels):
    block = layers.ResnetBlock2D(8, channels, 12, groups=4, eps=1e-2)
    for parameter in block.parameters():  # norms and biases that are not 1 and 0
        parameter.data += 0.3 * torch.randn_like(parameter)
    return block


def _block_cases():
    x, temb = torch.randn(3, 8, 5, 4), torch.randn(3, 12)
    same = _block(8)
    yield Case((same, x.clone(), temb.clone(), False), "the number of channels stays")
    yield Case((same, x.clone(), temb.clone(), True), "gradients of x and temb")
    same.dropout.p = 0.5
    yield Case((same, x.clone(), temb.clone(), False), "dropout is on")
    other = _block(16).eval()
    other.dropout.p = 0.5  # which does nothing after eval()
    yield Case((other, x.clone(), temb.clone(), False), "the number of channels changes")
    yield Case((other, x.clone(), temb.clone(), True),
               "gradients of x and temb where the number of channels changes")  # fmt: skip


def _run_block(answer, self, x, temb, gradients):
    """The answer; or how much comes back to x and temb, which numbers do not show."""
    with closed(layers.ResnetBlock2D, "forward", "self.norm1, self.conv1 and so on"):
        if not gradients:
            return answer(self, x, temb)
        sources = x.requires_grad_(), temb.requires_grad_()
        return slopes(answer(self, x * 1, temb * 1), sources)


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


def _time_later(put):
    """A forward whose time comes after norm2; put(block, h, time) does the rest."""

    def answer(self, x, temb):
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        return put(self, h, self.time_emb_proj(F.silu(temb))[:, :, None, None]) + _short(self, x)

    return answer


def _overwritten(self, x, temb):
    h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(temb))[:, :, None, None]
    return h + self.conv2(self.dropout(F.silu(self.norm2(h))))


def _instead(act):
    """A forward with another function in the place of all three SiLUs."""
    return _resnet(
        first=lambda b, x: b.conv1(act(b.norm1(x))),
        when=lambda b, temb: b.time_emb_proj(act(temb)),
        second=lambda b, h: b.conv2(b.dropout(act(b.norm2(h)))),
    )


def _normed(norm):
    """A forward with norm(layer, h) in the place of both norms."""
    return _resnet(
        first=lambda b, x: b.conv1(F.silu(norm(b.norm1, x))),
        second=lambda b, h: b.conv2(b.dropout(F.silu(norm(b.norm2, h)))),
    )


RESNET = Exercise(
    "unet.resnet",
    reference=layers.ResnetBlock2D.forward,
    cases=_block_cases,
    run=_run_block,
    advice={
        r"^\w+\(\) takes 2 positional arguments but 3": "The first line is given: (self, x, temb).",
        "'NoneType' object is not callable": "self.conv_shortcut is None where the number of "
        "channels stays: x itself is added there.",
        r"\(12\)": "temb has D numbers; self.time_emb_proj(F.silu(temb)) makes C_out of them.",
        # B is 3, H and W are 5 and 4; 8 channels come in, 8 or 16 go out.
        r"\((8|16)\) must match the size of tensor b \((8|16)\)": "Tensors of 8 and of 16 channels "
        "are added. x as it came in has C_in channels; what comes after conv1, and the time, C_out."
        " The short cut is self.conv_shortcut(x) where that is not None.",
        "must match the size|is invalid for input of size": "The time is [B, C_out], and h is [B, "
        "C_out, H, W]: [:, :, None, None] adds the two dimensions that are missing.",
        r"to have \d+ channels|of size equal to the number of channels": "norm1, conv1 and "
        "conv_shortcut take C_in channels, norm2 and conv2 C_out. Adding the time leaves C_out.",
        "inplace operation": "+= and *= change a tensor that the gradient still needs, such as x.",
        "divisible by num_groups": "The block's norms know their number of groups: self.norm1(x).",
        "SiLU": "nn.SiLU() makes a layer, which still has to be called; F.silu(h) does it at once.",
        "no attribute '(silu|act|nonlinearity|activation)'": "SiLU has nothing to learn, so the "
        "block does not keep it: F.silu(h).",
    },
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
        "Where self.conv_shortcut is None, nothing is added at the end; x itself belongs "
        "there.": _resnet(short=lambda b, x: 0 if b.conv_shortcut is None else b.conv_shortcut(x)),
        "Where the number of channels changes, the short cut is all that comes back. Are brackets "
        "missing? h + (x if … else self.conv_shortcut(x))": lambda self, x, temb: (
            _resnet()(self, x, temb) if self.conv_shortcut is None else self.conv_shortcut(x)
        ),
        "The short cut is taken off; it has to be added.": _resnet(join=lambda h, old, x: h - old),
        "Everything is halved: return the sum as it is.": _resnet(
            join=lambda h, old, x: (old + h) / 2
        ),
        "The sum is divided by √2. Some networks do; this one leaves it.": _resnet(
            join=lambda h, old, x: (old + h) / 2**0.5
        ),
        "SiLU is taken of the sum; the sum is returned as it is.": _resnet(
            join=lambda h, old, x: F.silu(old + h)
        ),
        "The short cut carries norm1's output; it should carry x as it came in.": _resnet(
            short=lambda b, x: _short(b, b.norm1(x))
        ),
        "The short cut carries what conv1 gets; it should carry x as it came in. Was x "
        "overwritten?": _resnet(short=lambda b, x: _short(b, F.silu(b.norm1(x)))),
        "The short cut carries SiLU of x; it should carry x as it came in.": _resnet(
            short=lambda b, x: _short(b, F.silu(x))
        ),
        "The short cut carries conv1's output with the time; it should carry x as it came in. Was "
        "x overwritten?": _overwritten,
        "It equals an answer without the time: add self.time_emb_proj(F.silu(temb)), one number "
        "for each channel, [:, :, None, None]. (norm2 takes away one that all channels "
        "share.)": _resnet(add=lambda h, when: h),
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
        "h is multiplied by 1 + the time; the time has to be added.": _resnet(
            add=lambda h, when: h * (1 + when[:, :, None, None])
        ),
        "The time is taken off; it has to be added.": _resnet(
            add=lambda h, when: h - when[:, :, None, None]
        ),
        "The time is added twice; once is enough.": _resnet(
            add=lambda h, when: h + 2 * when[:, :, None, None]
        ),
        "All pictures get the sum of their times; each has its own: [:, :, None, None].": _resnet(
            add=lambda h, when: h + when.sum(0)[:, None, None]
        ),
        "The time is added after norm2; it comes before it, right after conv1.": _time_later(
            lambda b, h, when: b.conv2(b.dropout(F.silu(h + when)))
        ),
        "The time is added after the second SiLU; it comes before norm2, right after "
        "conv1.": _time_later(lambda b, h, when: b.conv2(b.dropout(F.silu(h) + when))),
        "The time is added too late: it belongs between the two halves.": _time_later(
            lambda b, h, when: b.conv2(b.dropout(F.silu(h))) + when
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
        "The convolution comes first in each half, then norm2 and SiLU; norm1 is not used. The "
        "order is norm, SiLU, convolution.": _resnet(
            first=lambda b, x: F.silu(b.norm2(b.conv1(x))),
            second=lambda b, h: F.silu(b.norm2(b.conv2(h))),
        ),
        "The first SiLU is missing, before conv1.": _resnet(first=lambda b, x: b.conv1(b.norm1(x))),
        "The second SiLU is missing, before conv2.": _resnet(
            second=lambda b, h: b.conv2(b.dropout(b.norm2(h)))
        ),
        "SiLU is missing in both halves, before conv1 and before conv2.": _resnet(
            first=lambda b, x: b.conv1(b.norm1(x)),
            second=lambda b, h: b.conv2(b.dropout(b.norm2(h))),
        ),
        "All three SiLUs are missing: before conv1, before conv2, and before the time's "
        "layer.": _instead(lambda h: h),
        "norm1 is left out, before the first SiLU.": _resnet(first=lambda b, x: b.conv1(F.silu(x))),
        "norm2 is left out, before the second SiLU.": _resnet(
            second=lambda b, h: b.conv2(b.dropout(F.silu(h)))
        ),
        "Both norms are left out, norm1 and norm2, each before its SiLU.": _normed(lambda n, h: h),
        "conv2 is left out, the last layer of the second half.": _resnet(
            second=lambda b, h: b.dropout(F.silu(b.norm2(h)))
        ),
        "The norms' own weights, biases and ε are missing: self.norm1(x), self.norm2(h).": _normed(
            lambda n, h: F.group_norm(h, n.num_groups)
        ),
        "ε of the norms is 1e-5 in yours; each norm has its own: self.norm1(x), "
        "self.norm2(h).": _normed(lambda n, h: F.group_norm(h, n.num_groups, n.weight, n.bias)),
        "ReLU in place of SiLU: F.silu(h) is h · sigmoid(h).": _instead(F.relu),
        "GELU in place of SiLU: F.silu(h) is h · sigmoid(h).": _instead(F.gelu),
        "The sigmoid alone in place of SiLU: F.silu(h) is h · sigmoid(h).": _instead(torch.sigmoid),
        "It equals an answer without dropout: self.dropout(…) belongs before conv2, and eval() "
        "would switch it off.": _resnet(second=lambda b, h: b.conv2(F.silu(b.norm2(h)))),
        "Dropout comes after conv2; it belongs before it, after the second SiLU.": _resnet(
            second=lambda b, h: b.dropout(b.conv2(F.silu(b.norm2(h))))
        ),
        "Dropout comes before the second SiLU; it belongs after it.": _resnet(
            second=lambda b, h: b.conv2(F.silu(b.dropout(b.norm2(h))))
        ),
        "Dropout goes on after eval(): F.dropout has to be told, self.dropout knows.": _resnet(
            second=lambda b, h: b.conv2(F.dropout(F.silu(b.norm2(h)), b.dropout.p))
        ),
        "Dropout is in both halves; it belongs in the second alone, before conv2.": _resnet(
            first=lambda b, x: b.conv1(b.dropout(F.silu(b.norm1(x)))),
        ),
        "No gradient gets through: .detach() and no_grad() cut it off, and the block would learn "
        "nothing.": _resnet(join=lambda h, old, x: (old + h).detach()),
        "No gradient reaches temb, so the time embedding would learn nothing: .detach() and "
        "no_grad() cut it off.": _resnet(add=lambda h, when: h + when.detach()[:, :, None, None]),
        "No gradient reaches x, so the layers before this block would learn nothing: .detach() and "
        "no_grad() cut it off.": lambda self, x, temb: _resnet()(self, x.detach(), temb),
        "No gradient comes back through the short cut. Is x added, and without .detach()?": _resnet(
            short=lambda b, x: _short(b, x).detach()
        ),
        "Where the number of channels stays, no gradient comes back through the short cut. Is x "
        "added, and without .detach()?": _resnet(
            short=lambda b, x: x.detach() if b.conv_shortcut is None else b.conv_shortcut(x)
        ),
        "Only through the short cut a gradient comes back, not through the two halves: .detach() "
        "and no_grad() cut it off.": _resnet(join=lambda h, old, x: old + h.detach()),
    },
)
