"""Imports inside the package point one way: from what is built later to what was built before."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sdlearn"

# Lowest first. A module may import what stands before its set, never what comes after.
CHAINS = [
    [
        {"configs"},
        {"layers", "unet_config"},
        {"unet", "vae", "clip", "tokenizer"},
        {"pipeline"},
        {"cli"},
    ],
    [{"schedule"}, {"diffusion"}, {"samplers"}, {"pipeline"}, {"cli"}],
    # What a chapter builds knows nothing of the notebook around it, nor of the commands.
    [
        {
            "configs",
            "layers",
            "unet_config",
            "unet",
            "vae",
            "clip",
            "schedule",
            "diffusion",
            "samplers",
        }
        | {"tokenizer", "ideal", "optimiser", "metrics", "elbo", "intervals", "judge"},
        {"show", "exercises", "runtime", "doctor", "kernel", "run", "pages", "lab", "grade", "cli"},
    ],
]


def graph(package):
    """{module: the modules of `package` that it imports, anywhere in its code}.

    A subpackage counts as one module. `__init__` stands for the package's own file.
    """
    edges = {}
    for file in package.rglob("*.py"):
        inside = file.relative_to(package).with_suffix("").parts
        found = edges.setdefault(inside[0], set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for name in imported(node, [package.name, *inside]):
                if name[0] == package.name:
                    found.add(module(package, name[1:]))
        found.discard(inside[0])
    return edges


def imported(node, inside):
    """The dotted names that an import statement in the module `inside` asks for, in parts."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        start = inside[: len(inside) - node.level] if node.level else []
        start = start + (node.module.split(".") if node.module else [])
        return [[*start, alias.name] for alias in node.names]
    return []


def module(package, parts):
    """The module that a name leads to; `__init__` if it is defined in the package itself."""
    there = parts and ((package / parts[0]).is_dir() or (package / f"{parts[0]}.py").is_file())
    return parts[0] if there else "__init__"


def reachable(edges, start):
    """Every module that `start` imports, directly or through others, and how: {module: path}."""
    paths, todo = {}, [[start]]
    while todo:
        path = todo.pop()
        for name in edges.get(path[-1], ()):
            if name not in paths:
                paths[name] = [*path, name]
                todo.append(paths[name])
    return paths


def upward(edges):
    """Imports that point the wrong way, each as the path that leads there."""
    wrong = []
    for chain in CHAINS:
        for k, level in enumerate(chain):
            above = set().union(*chain[k:]) if len(level) == 1 else set().union(*chain[k + 1 :])
            for name in level & set(edges):
                found = reachable(edges, name)
                wrong += [" → ".join(found[bad]) for bad in above & set(found)]
    wrong += [f"{name} imports itself" for name in edges if name in reachable(edges, name)]
    wrong += [f"__init__ → {name}" for name in edges.get("__init__", ())]
    wrong += [f"{name} → cli" for name in edges if "cli" in edges[name] and name != "__main__"]
    return sorted(set(wrong))


def test_no_module_imports_upward():
    edges = graph(PACKAGE)
    assert {"schedule", "diffusion", "samplers", "exercises", "cli"} <= set(edges)
    assert "schedule" in reachable(edges, "samplers")  # the reader of imports does read them
    assert upward(edges) == []


@pytest.mark.parametrize(
    "name, source",
    [
        ("schedule", "from . import diffusion"),
        ("schedule", "from .samplers import sample"),
        ("schedule", "import sdlearn.samplers"),
        ("schedule", "def f():\n    from sdlearn.diffusion import q_sample"),
        ("diffusion", "from .helper import x"),  # helper imports samplers
        ("samplers", "from .show import images"),
        ("diffusion", "from .exercises.engine import check"),
        ("__init__", "from .schedule import linear"),
        ("show", "from . import cli"),
        ("show", "from .helper import x"),  # helper imports show
    ],
)
def test_an_upward_import_is_caught(name, source, tmp_path):
    package = tmp_path / "sdlearn"
    (package / "exercises").mkdir(parents=True)
    sources = {
        "schedule": "import torch",
        "diffusion": "from .schedule import linear",
        "samplers": "from . import diffusion",
        "helper": "from . import samplers, show",
        "show": "from . import __version__",
        "cli": "from . import samplers",
        "__main__": "from .cli import main",
        "__init__": "__version__ = '1'",
        "exercises/__init__": "from .engine import exercise",
        "exercises/engine": "from .. import schedule\nimport sdlearn.exercises",
    }
    for module_name, text in sources.items():
        (package / f"{module_name}.py").write_text(text, encoding="utf-8")
    assert upward(graph(package)) == []
    (package / f"{name}.py").write_text(f"{sources[name]}\n{source}", encoding="utf-8")
    assert upward(graph(package)) != []
