"""Draws prompts as the AUTOMATIC1111 web UI does: weights, chunks, schedules, AND (chapter 12)."""

import torch

from sdlearn.guidance import rescaled
from sdlearn.pipeline import TextToImage
from sdlearn.prompt_syntax import at_step, composed, weighted

BACK = 20  # a full chunk is broken after a comma, if there is one among its last tokens


def chunks(text, tokenizer):
    """A weighted text as lists of (token, weight), one for each row that the encoder reads.

    A row has room for 75 tokens of CLIP's, without start and end. BREAK begins a new one.
    """
    room, comma = tokenizer.length - 2, tokenizer.encode(",")
    found = []
    for part in weighted(text):
        row = []
        for piece, weight in part:
            for token in tokenizer.encode(piece):
                if len(row) == room:
                    end = 1 + max((k for k, (t, _) in enumerate(row) if [t] == comma), default=-1)
                    end = end if room - BACK <= end else room
                    found.append(row[:end])
                    row = row[end:]
                row.append((token, weight))
        found.append(row)
    return found


def encode(text, tokenizer, text_encoder, skip=0):
    """The states of a weighted text: [1, L, D] for each chunk, put one behind the other.

    Each token's state is multiplied by its weight; then all are scaled, so that their mean is what
    it was. skip: how many of the encoder's last layers are left out.
    """
    states = []
    for row in chunks(text, tokenizer):
        ids = [tokenizer.start, *(token for token, _ in row), tokenizer.end]
        ids += (tokenizer.length - len(ids)) * [tokenizer.pad]
        weights = [1.0, *(weight for _, weight in row)]
        weights += (len(ids) - len(weights)) * [1.0]
        device = text_encoder.text_model.final_layer_norm.weight.device
        z = text_encoder(torch.tensor([ids], device=device), skip)  # [1, L, D]
        states.append(weigh(z, torch.tensor(weights, device=device, dtype=z.dtype)))
    return torch.cat(states, dim=1)


def weigh(states, weights):
    """States [1, L, D], those of each token multiplied by its weight [L], with the mean kept."""
    scaled = states * weights[:, None]
    return scaled * (states.mean() / scaled.mean())


class WebUI(TextToImage):
    """`TextToImage` with prompts in the web UI's syntax (see `prompt_syntax`).

    clip_skip: as the web UI counts it: 1 takes the encoder's last layer, 2 the one before.
    """

    clip_skip = 1

    def __call__(self, prompt, negative_prompt="", steps=25, *others, **options):
        self.steps = steps  # of which schedules name fractions
        return super().__call__(prompt, negative_prompt, steps, *others, **options)

    def guided(self, prompts, negative_prompts, guidance, channels=None, rescale=0.0):
        """As TextToImage's; what is asked may change from step to step."""
        if len(negative_prompts) not in (1, len(prompts)):
            raise ValueError(
                f"{len(negative_prompts)} negative prompts for {len(prompts)} prompts: give one, "
                "or one for each"
            )
        negative = (
            len(prompts) * negative_prompts if len(negative_prompts) == 1 else negative_prompts
        )
        known, visited = {}, []  # states of the texts, timesteps that were asked for

        def states(text, step):
            text = at_step(text, step, self.steps)
            if text not in known:
                skip = self.clip_skip - 1
                known[text] = encode(text, self.tokenizer, self.text_encoder, skip)
            return known[text]

        def model(x_t, t):
            if t[0] not in visited:  # Heun's second question in a step is the next one's first
                visited.append(t[0])
            step, jobs = len(visited), []  # picture, shares of the answers, states
            for k, prompt in enumerate(prompts):
                parts = composed(prompt)
                total = sum(weight for _, weight in parts)
                jobs += [(k, guidance * w, w, states(text, step)) for text, w in parts]
                if (rest := 1 - guidance * total) or (rescale and total != 1):
                    jobs.append((k, rest, 1 - total, states(negative[k], step)))
            x = x_t if channels is None else torch.cat([x_t, channels], dim=1)
            answer, plain = torch.zeros_like(x_t), torch.zeros_like(x_t)  # plain: of guidance 1
            for length in sorted({context.shape[1] for *_, context in jobs}):
                some = [job for job in jobs if job[3].shape[1] == length]  # as one batch
                rows, guiding, plainly, context = zip(*some)
                rows = torch.tensor(rows, device=x.device)
                output = self.unet(x[rows], t[rows], torch.cat(context))
                for sums, shares in ((answer, guiding), (plain, plainly)):
                    shares = torch.tensor(shares).to(x)[:, None, None, None]
                    sums.index_add_(0, rows, shares * output)
            return rescaled(answer, plain, rescale) if rescale else answer

        return model
