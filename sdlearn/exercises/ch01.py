"""The exercises of chapter 01, the forward process."""

import torch

from sdlearn import diffusion, schedule
from sdlearn.exercises.bank import Case, Exercise
from sdlearn.schedule import NoiseSchedule, extract


def _forward_cases():
    """(picture, t, schedule, noise): one with equal t, one with different t, one not square."""
    plan = NoiseSchedule.linear(100, 0.01, 0.2)
    x = torch.randn(2, 3, 4, 4)
    noise = torch.randn_like(x)
    for t, label in (([40, 40], "every picture has the same t"), ([0, 60], "t differs")):
        yield Case((x.clone(), torch.tensor(t), plan, noise.clone()), label)
    yield Case((x[..., :3].clone(), torch.tensor([5, 30]), plan, noise[..., :3].clone()),
               "pictures are not square")  # fmt: skip
    yield Case((torch.randn(3, 2), torch.tensor([0, 9, 60]), plan, torch.randn(3, 2)),
               "x is points [B, 2]")  # fmt: skip


def _mix(signal, noise_share, table="alphas_cumprod"):
    """A wrong q_step or q_sample: two functions of the table's entry, for picture and noise."""

    def answer(x, t, plan, noise):
        value = extract(getattr(plan, table), t, x)
        return signal(value) * x + noise_share(value) * noise

    return answer


def _fresh_noise(x, t, plan, noise):
    return diffusion.q_sample(x, t, plan, torch.randn_like(x))


def _q_step_with_alpha_bar(x, t, plan, noise):
    return diffusion.q_sample(x, t, plan, noise)


def _for_pictures_only(table):
    """√(1-v) and √v, or the other way round, shaped for [B, C, H, W] whatever x is."""

    def answer(x, t, plan, noise):
        value = getattr(plan, table)[t].view(-1, 1, 1, 1)
        value = 1 - value if table == "betas" else value
        return value.sqrt() * x + (1 - value).sqrt() * noise

    return answer


POINTS = (
    "Right for pictures, but points [B, 2] come out as [B, 1, B, 2], and there will be points: "
    "use extract(table, t, x), which fits x of any shape."
)


HALVED = "a**1/2 is (a**1)/2, half of a. Write a**0.5 or a.sqrt() for the root."


def _same(value):
    return value


def _root(value):
    return value.sqrt()


def _minus_root(value):
    return -value.sqrt()


def _rest(value):
    return 1 - value


def _root_of_rest(value):
    return (1 - value).sqrt()


def _one(value):
    return torch.ones_like(value)


def _minus_root_of_rest(value):
    return -(1 - value).sqrt()


Q_STEP = Exercise(
    "forward.q_step",
    reference=diffusion.q_step,
    cases=_forward_cases,
    hints=[
        "Two terms: something times x_prev, plus something times noise. The formula stands above.",
        "The variance of the first term is 1-β, that of the second β. What multiplies a number "
        "whose variance is 1, to give it the variance β?",
        "√β times the noise, √(1-β) times x_prev. A tensor's root is beta.sqrt() or beta**0.5.",
    ],
    mistakes={
        "The noise is scaled by β; it should be √β: β is a variance, and what multiplies the "
        "noise is a standard deviation.": _mix(_root_of_rest, _same, "betas"),
        "The picture is scaled by 1-β; it should be √(1-β), so that its variance is 1-β.": _mix(
            _rest, _root, "betas"
        ),
        "New noise is drawn inside. Use the noise that is handed in: the network will be asked "
        "for exactly that one.": lambda x, t, plan, noise: diffusion.q_step(
            x, t, plan, torch.randn_like(x)
        ),
        "Both roots are missing: the picture is scaled by √(1-β), the noise by √β.": _mix(
            _rest, _same, "betas"
        ),
        "The picture is not shrunk: without √(1-β) "
        "before it the variance grows in each step.": _mix(_one, _root, "betas"),
        "The two factors are swapped: √β belongs to the noise, √(1-β) to the picture.": _mix(
            _root, _root_of_rest, "betas"
        ),
        "This is the jump from x_0 with ᾱ. One step uses β_t alone.": _q_step_with_alpha_bar,
        POINTS: _for_pictures_only("betas"),
        "The root is in the wrong place: before x_prev stands √(1-β), not 1-√β.": _mix(
            lambda beta: 1 - beta.sqrt(), _root, "betas"
        ),
        "Brackets are missing: 1 - beta.sqrt() * x_prev takes the product from 1. Write "
        "(1 - beta).sqrt() * x_prev.": lambda x, t, plan, noise: (
            1 - _mix(_root, _minus_root, "betas")(x, t, plan, noise)
        ),
        HALVED: _mix(lambda beta: (1 - beta) / 2, lambda beta: beta / 2, "betas"),
        "Only the mean is there: "
        "the noise has to be added, √β times it.": lambda x, t, plan, noise: (
            (1 - extract(plan.betas, t, x)).sqrt() * x
        ),
        "The noise is subtracted. As noise is symmetric that would do no harm in itself, but "
        "the network must learn "
        "the very noise that was added: use a plus.": lambda x, t, plan, noise: diffusion.q_step(
            x, t, plan, -noise
        ),
    },
)

Q_SAMPLE = Exercise(
    "forward.q_sample",
    reference=diffusion.q_sample,
    cases=_forward_cases,
    hints=[
        "It has the shape of q_step, with ᾱ_t in the place of 1-β_t.",
        "What is left of the picture is √ᾱ; the squares of the two factors add up to 1.",
        "√ᾱ times x0, plus √(1-ᾱ) times the noise.",
    ],
    mistakes={
        "The noise is scaled by 1-ᾱ; it should be √(1-ᾱ): 1-ᾱ is its variance.": _mix(_root, _rest),
        "The picture is scaled by ᾱ; it should be √ᾱ: ᾱ is its share of the variance.": _mix(
            _same, _root_of_rest
        ),
        "Both roots are missing: the picture is scaled by √ᾱ, the noise by √(1-ᾱ).": _mix(
            _same, _rest
        ),
        "The two factors are swapped: √ᾱ belongs to the picture, √(1-ᾱ) to the noise.": _mix(
            _root_of_rest, _root
        ),
        "This uses α_t of one step; the jump needs ᾱ_t, the product of all α up to t: "
        "schedule.alphas_cumprod.": _mix(_root, _root_of_rest, "alphas"),
        "New noise is drawn inside. Use the noise that is handed in: the network will be asked "
        "for exactly that one.": _fresh_noise,
        "The picture is not faded: √ᾱ has to stand before x0.": _mix(_one, _root_of_rest),
        "The noise is subtracted; the network must "
        "learn the noise that was added: use a plus.": _mix(_root, _minus_root_of_rest),
        POINTS: _for_pictures_only("alphas_cumprod"),
        HALVED: _mix(lambda value: value / 2, lambda value: (1 - value) / 2),
        "Brackets: √ᾱ stands before x0 alone; the noise's factor is √(1-ᾱ).": _mix(
            _root, lambda value: (value * (1 - value)).sqrt()
        ),
        "The noise is scaled by √ᾱ like the picture; its factor is √(1-ᾱ).": _mix(_root, _root),
    },
)


def _snr_cases():
    plan = NoiseSchedule.scaled_linear(100, 0.0085, 0.12)
    yield Case((plan, torch.tensor([10, 10])), "every entry of t is the same")
    yield Case((plan, torch.tensor([0, 30, 99])), "t differs")
    yield Case((NoiseSchedule.cosine(50), torch.arange(45)), "the schedule is another one")


SNR = Exercise(
    "forward.snr",
    reference=schedule.snr,
    cases=_snr_cases,
    hints=[
        "Take ᾱ at the timesteps t first: schedule.alphas_cumprod[t].",
        "The variance of the picture's part is ᾱ, that of the noise's part 1-ᾱ. Divide.",
    ],
    mistakes={
        "Upside down: signal over noise is ᾱ/(1-ᾱ).": lambda plan, t: (
            (1 - plan.alphas_cumprod[t]) / plan.alphas_cumprod[t]
        ),
        "This is the ratio of the two factors, √ᾱ/√(1-ᾱ); the SNR is the ratio of the "
        "variances: square it.": lambda plan, t: plan.snr(t).sqrt(),
        "That is the picture's share "
        "ᾱ alone; divide it by the noise's share, 1-ᾱ.": lambda plan, t: plan.alphas_cumprod[t],
        "α_t belongs to a single step; the noise of all steps up to t is in ᾱ_t: "
        "schedule.alphas_cumprod.": lambda plan, t: plan.alphas[t] / (1 - plan.alphas[t]),
        "This is the SNR at every timestep of the schedule; only those in t are asked for: "
        "index with [t].": lambda plan, t: plan.snr(),
        "Half right: √ᾱ over 1-ᾱ mixes a factor with a variance. It is ᾱ/(1-ᾱ).": lambda plan, t: (
            plan.alphas_cumprod[t].sqrt() / (1 - plan.alphas_cumprod[t])
        ),
        "This is a logarithm; the plain ratio is asked for.": lambda plan, t: plan.snr(t).log(),
        "This is in decibels; the plain ratio is asked for.": lambda plan, t: (
            10 * plan.snr(t).log10()
        ),
        "Brackets are missing: a / 1 - a is (a / 1) - a. Write a / (1 - a).": lambda plan, t: (
            plan.alphas_cumprod[t] / 1 - plan.alphas_cumprod[t]
        ),
    },
)


def _zero_cases():
    yield Case((NoiseSchedule.scaled_linear(100, 0.0085, 0.12).alphas_cumprod,),
               "the schedule is scaled linear")  # fmt: skip
    yield Case((NoiseSchedule.linear(30, 0.01, 0.1).alphas_cumprod,), "the schedule is linear")


def _shift_only(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return (root - root[-1]) ** 2


def _divided_by_zero(alphas_cumprod):
    root = alphas_cumprod.sqrt() - alphas_cumprod.sqrt()[-1]
    return (root * root[0] / root[-1]) ** 2


def _shifted_by_first(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[0]) * root[0] / (root[0] - root[-1])) ** 2


def _without_brackets(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return (root - root[-1] * root[0] / (root[0] - root[-1])) ** 2


def _late_scale(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return (root - root[-1]) ** 2 * root[0] / (root[0] - root[-1])


def _no_square(alphas_cumprod):
    return schedule.zero_terminal(alphas_cumprod).sqrt()


def _without_root(alphas_cumprod):
    first, last = alphas_cumprod[0], alphas_cumprod[-1]
    return (alphas_cumprod - last) * first / (first - last)


def _to_one(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) / (root[0] - root[-1])) ** 2


def _last_set_to_zero(alphas_cumprod):
    return torch.cat([alphas_cumprod[:-1], torch.zeros_like(alphas_cumprod[:1])])


def _scaled_by_squares(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] + root[-1])) ** 2


def _scaled_by_last(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[-1] / (root[0] - root[-1])) ** 2


def _no_root_in_scale(alphas_cumprod):
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * alphas_cumprod[0] / (root[0] - root[-1])) ** 2


ZERO_TERMINAL = Exercise(
    "forward.zero_terminal",
    reference=schedule.zero_terminal,
    cases=_zero_cases,
    hints=[
        "Work on root = alphas_cumprod.sqrt(), and square the result at the end.",
        "root - root[-1] ends at 0. What does it begin with, and what should it begin with?",
        "Multiply by root[0] / (root[0] - root[-1]).",
    ],
    mistakes={
        "Shifted, but not scaled: it no longer begins where it began. Multiply the shifted root "
        "by root[0] / (root[0] - root[-1]), "
        "with both as they were before the shift.": _shift_only,
        "It is 0 everywhere, as if multiplied by root[-1] after the shift, when that is 0. "
        "Keep root[0] and root[-1] from before the shift.": torch.zeros_like,
        "It is divided by root[-1] after the shift: by then that is 0. Keep root[0] and "
        "root[-1] from before the shift, and divide by their difference.": _divided_by_zero,
        "root[0] is taken off; it is the "
        "end that should become 0: take root[-1] off.": _shifted_by_first,
        "Brackets are missing: root - root[-1] "
        "is scaled as a whole, (root - root[-1]) * ….": _without_brackets,
        "The scale is not squared: scale the shifted root first, then square.": _late_scale,
        "That is the root √ᾱ; the answer is ᾱ itself: square it at the end.": _no_square,
        "ᾱ itself was shifted and scaled; it is its root that has to be: take the root first, "
        "square at the end.": _without_root,
        "ᾱ itself was shifted, and not scaled; it is its root that has to be shifted, and scaled "
        "so that it begins where it began: take the root first, square at the end.": lambda a: (
            a - a[-1]
        ),
        "It begins at 1 now; it should begin where "
        "it began before: one more factor root[0].": _to_one,
        "Only the last entry was set to 0. That puts all that was left of the picture into one "
        "step; the whole curve has to be stretched.": _last_set_to_zero,
        "A sign in the scale: after the shift it "
        "begins at root[0] - root[-1]; divide by that.": _scaled_by_squares,
        "It is scaled by root[-1], the end; it should "
        "begin where it began: scale by root[0].": _scaled_by_last,
        "The factor is root[0], the first √ᾱ, not "
        "the first ᾱ: it is the root that is scaled.": _no_root_in_scale,
    },
)

EXERCISES = [Q_STEP, Q_SAMPLE, SNR, ZERO_TERMINAL]
