"""Chapter 00: the exercise `start.count_parameters`."""

from torch import nn

from sdlearn import ideal
from sdlearn.exercises.bank import Case, Exercise


class _Tied(nn.Module):
    """Two layers with one weight between them, as a text model's input and output words."""

    def __init__(self):
        super().__init__()
        self.read, self.write = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.write.weight = self.read.weight


def _model_cases():
    yield Case((nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)),), "two linear layers")
    yield Case((nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),), "a norm keeps statistics")
    frozen = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
    frozen[0].requires_grad_(False)
    yield Case((frozen,), "one layer is frozen")
    yield Case((_Tied(),), "two layers share a weight")


COUNT_PARAMETERS = Exercise(
    "start.count_parameters",
    reference=ideal.count_parameters,
    cases=_model_cases,
    hints=[
        "model.parameters() gives the tensors one after the other.",
        "tensor.numel() is how many numbers a tensor holds. Add them up.",
        "sum(parameter.numel() for parameter in model.parameters())",
    ],
    mistakes={
        "You counted the tensors; count the numbers in them, numel().": lambda model: len(
            list(model.parameters())
        ),
        "state_dict() holds buffers too, such as a norm's running means, and lists a shared "
        "tensor under each of its names: use parameters().": lambda model: sum(
            t.numel() for t in model.state_dict().values()
        ),
        "Frozen parameters are left out. They are part of the model all the same.": lambda model: (
            sum(p.numel() for p in model.parameters() if p.requires_grad)
        ),
        "A tensor that two layers share is counted "
        "twice: model.parameters() gives it once.": lambda model: sum(
            p.numel() for _, p in model.named_parameters(remove_duplicate=False)
        ),
        "The biases are left out: they are parameters too.": lambda model: sum(
            p.numel() for p in model.parameters() if p.dim() > 1
        ),
        "These are bytes (4 for each float32 number): count the numbers.": lambda model: sum(
            p.numel() * p.element_size() for p in model.parameters()
        ),
    },
)
