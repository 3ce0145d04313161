"""What every test runs under: no network, nobody's own record of progress, tools/ importable."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["SDLEARN_PROGRESS"] = "off"
for name in ("SDLEARN_STRICT", "SDLEARN_REPO"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    """A folder with a pipeline of small networks and random weights, to be read only."""
    from test_pipeline import make

    path = tmp_path_factory.mktemp("small")
    make().save(path)
    return path


def pytest_collection_modifyitems(items):
    """Tests that need a GPU are skipped where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch  # seconds, so only for those tests

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
