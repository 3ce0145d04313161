"""`sdlearn doctor`: each check finds what it looks for, on whole and on broken machines."""

import json
import os
import re
import shutil
import subprocess
import sys
import types
from importlib import metadata

import pytest

from sdlearn import doctor, packages
from sdlearn.places import course_root


def run_doctor(*arguments, **environment):
    command = [sys.executable, "-m", "sdlearn", "doctor", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=300
    )


def test_this_machine_has_what_the_course_needs():
    done = run_doctor("--json")
    report = json.loads(done.stdout)
    missing = [row for row in report["checks"] if row["status"] == "MISSING"]
    assert missing == [] and report["ok"] is True and done.returncode == 0
    names = [row["check"] for row in report["checks"]]
    for name in ("python", "course", "torch", "device", "memory", "disk", "folders", "data",
                 "jupyter kernel", "widgets", "lab, run, grade"):  # fmt: skip
        assert name in names
    assert all(set(row) == {"check", "status", "found", "remedy"} for row in report["checks"])
    assert {row["status"] for row in report["checks"]} <= {"ok", "note", "MISSING"}


@pytest.fixture
def without(tmp_path):
    """Runs the doctor where the named modules cannot be imported."""

    def run(*modules):
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\n"
            "class Broken:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name.partition('.')[0] in {modules!r}:\n"
            "            raise ImportError('DLL load failed: broken on purpose', name=name)\n"
            "sys.meta_path.insert(0, Broken())\n",
            encoding="utf-8",
        )
        return run_doctor("--json", PYTHONPATH=str(tmp_path))

    return run


def test_a_broken_torch_is_reported_with_everything_else(without):
    done = without("torch")
    report = json.loads(done.stdout)
    rows = {row["check"]: row for row in report["checks"]}
    assert done.returncode == 1 and report["ok"] is False
    assert rows["torch"]["status"] == "MISSING"
    assert "broken on purpose" in rows["torch"]["found"]
    assert 'pip install --force-reinstall "torch' in rows["torch"]["remedy"]
    assert rows["torch at work"]["status"] == rows["device"]["status"] == "MISSING"
    # What fails only because of torch is sent to torch, not reinstalled in vain.
    assert rows["accelerate"]["remedy"] == "repair torch first"
    for name in ("python", "numpy", "pillow", "memory", "disk", "folders", "widgets"):
        assert rows[name]["status"] == "ok", rows[name]


def test_broken_datasets_and_widgets_are_reported(without):
    done = without("datasets", "ipywidgets", "ipykernel", "psutil")
    rows = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    for name in ("datasets", "ipywidgets", "jupyter kernel", "widgets"):
        assert rows[name]["status"] == "MISSING" and rows[name]["remedy"]
    assert rows["memory"]["status"] == "note"
    assert rows["torch"]["status"] in ("ok", "note") and rows["torch at work"]["status"] == "ok"


def test_it_runs_with_nothing_but_python(tmp_path):
    """On a bare interpreter, from the clone: a report with remedies, no traceback."""
    script = "import sys; from sdlearn.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append('.'); {script}"],
        capture_output=True, text=True, encoding="utf-8", cwd=course_root(), timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"^MISSING  torch +not installed$", done.stdout, re.MULTILINE)
    assert '-m pip install "torch>=' in done.stdout
    assert "things are missing. Repair them from the top" in done.stdout


def versions(monkeypatch, **changed):
    """Pretend that these packages have these versions; None: not installed."""
    true = metadata.version

    def version(name):
        if name in changed and changed[name] is None:
            raise metadata.PackageNotFoundError(name)
        return changed.get(name) or true(name)

    monkeypatch.setattr(packages.metadata, "version", version)
    return {row[0]: row for row in packages.check_packages()}


def test_missing_and_old_packages_come_with_the_line_that_repairs(monkeypatch):
    rows = versions(monkeypatch, datasets=None, tqdm="4.0", numpy="1.20.3")
    for name, found in (("datasets", "not installed"), ("tqdm", "4.0, but"), ("numpy", "1.20.3")):
        _, status, text, remedy = rows[name]
        assert status == "MISSING" and text.startswith(found)
        assert re.search(rf'-m pip install "{name}>=[\d.]+"', remedy)
    assert rows["pillow"][1] in ("ok", "note")


def test_versions_are_compared_with_the_tested_ones(monkeypatch):
    monkeypatch.setattr(packages, "tested_versions", lambda: {"tqdm": "4.66.1", "numpy": "99.0"})
    rows = versions(monkeypatch, tqdm="4.100.0+local")
    assert rows["tqdm"][1:3] == ("note", "4.100.0+local, newer than the tested 4.66.1")
    assert rows["numpy"][1] == "ok"  # older than tested, but in the range
    rows = versions(monkeypatch, tqdm="4.66.1+cpu")
    assert rows["tqdm"][1] == "ok"


def test_tested_versions_are_read_with_their_markers(monkeypatch, tmp_path):
    (tmp_path / "constraints.txt").write_text(
        "# comment\ntorch==2.13.0\nIPython==8.1 ; python_version < '3.0'  # old\n"
        "ipython==9.0; python_version >= '3.0'\nSome_Name==1.2 # why\n\n-e .\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(packages, "course_root", lambda: tmp_path)
    assert packages.tested_versions() == {"torch": "2.13.0", "ipython": "9.0", "some-name": "1.2"}


def test_requirements_come_from_pyproject_or_the_installation(monkeypatch, tmp_path):
    needed, lab = packages.requirements()
    assert any(line.startswith("torch") for line in needed)
    assert any(line.startswith("nbclient") for line in lab)
    monkeypatch.setattr(packages, "course_root", lambda: tmp_path)  # no pyproject.toml there
    recorded = ["torch>=2.5", 'nbclient>=0.10; extra == "lab"', 'pytest; extra == "test"']
    monkeypatch.setattr(packages.metadata, "requires", lambda name: recorded)
    assert packages.requirements() == (["torch>=2.5"], ["nbclient>=0.10"])


def test_lab_packages_are_a_note_only(monkeypatch):
    true = metadata.version

    def version(name):
        if name == "nbclient":
            raise metadata.PackageNotFoundError(name)
        return true(name)

    monkeypatch.setattr(packages.metadata, "version", version)
    [(_, status, found, remedy)] = packages.check_lab_packages()
    assert status == "note" and found == "nbclient: not installed"
    assert 'pip install "nbclient>=' in remedy and "jupyterlab" not in remedy


def test_the_python_range_is_pyprojects(monkeypatch):
    text = (course_root() / "pyproject.toml").read_text(encoding="utf-8")
    low, high = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text).groups()
    assert ((3, int(low)), (3, int(high))) == (doctor._PYTHON_MIN, doctor._PYTHON_BELOW)
    for version, status in (((3, 9, 18), "MISSING"), ((3, 10, 0), "ok"), ((3, 14, 1), "note")):
        monkeypatch.setattr(doctor.sys, "version_info", version)
        assert doctor.check_python()[0][1] == status


@pytest.mark.parametrize("gigabytes, status", [(0.1, "MISSING"), (2, "note"), (50, "ok")])
def test_disk(monkeypatch, gigabytes, status):
    usage = types.SimpleNamespace(free=gigabytes * 2**30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    [row] = doctor.check_disk()
    assert row[1] == status and bool(row[3]) == (status != "ok")


@pytest.mark.parametrize(
    "total, free, status", [(1, 1, "MISSING"), (8, 1, "note"), (8, 6, "ok"), (None, None, "note")]
)
def test_memory(monkeypatch, total, free, status):
    pair = (total and total * 2**30, free and free * 2**30)
    monkeypatch.setattr(doctor, "memory", lambda: pair)
    [row] = doctor.check_memory()
    assert row[1] == status and bool(row[3]) == (status != "ok")


def test_a_device_that_is_not_there_is_missing(monkeypatch):
    monkeypatch.setenv("SDLEARN_DEVICE", "banana")
    [row] = doctor.check_device()
    assert row[1] == "MISSING" and "banana" in row[3]


def test_an_unused_gpu_is_noted(monkeypatch, tmp_path):
    from sdlearn import runtime

    monkeypatch.delenv("SDLEARN_DEVICE", raising=False)
    monkeypatch.setattr(runtime, "device", lambda: runtime.torch.device("cpu"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "nvidia-smi")
    listed = types.SimpleNamespace(returncode=0, stdout="GPU 0: NVIDIA T4")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *a, **k: listed)
    [row] = doctor.check_device()
    assert row[1] == "note" and "this torch does not use it" in row[3]
    listed.returncode = 9  # the tool is there, a GPU is not
    assert doctor.check_device()[0][1] == "ok"


def test_data_absent_and_damaged(monkeypatch, tmp_path):
    monkeypatch.setenv("SDLEARN_DATA", str(tmp_path))
    [row] = doctor.check_data()
    assert row[1] == "MISSING" and "git checkout -- data" in row[3]
    shutil.copytree(course_root() / "data" / "emoji", tmp_path / "emoji")
    assert doctor.check_data()[0][1] == "ok"
    picture = max((tmp_path / "emoji").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(picture.read_bytes())
    content[len(content) // 2] ^= 1
    picture.write_bytes(content)
    [row] = doctor.check_data()
    assert row[1] == "MISSING" and picture.name in row[2]


def test_a_folder_is_tried_where_it_is_or_would_be_made(tmp_path):
    assert doctor._writable(tmp_path) and doctor._writable(tmp_path / "new" / "deep")
    (tmp_path / "file").touch()
    assert not doctor._writable(tmp_path / "file" / "inside")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_unwritable_folders_are_told_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "course_root", lambda: tmp_path / "course")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    blocked = {}
    monkeypatch.setattr(doctor, "_writable", lambda folder: folder.name not in blocked)
    assert doctor.check_folders()[0][1] == "ok"
    blocked = {"cache"}
    assert doctor.check_folders()[0][1] == "note"
    blocked = {"cache", "course"}
    [row] = doctor.check_folders()
    assert row[1] == "MISSING" and str(tmp_path / "course") in row[2]


def test_a_widget_manager_that_does_not_fit_is_noted(monkeypatch, tmp_path):
    manager = tmp_path / "labextensions" / "@jupyter-widgets" / "jupyterlab-manager"
    manager.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))  # looked at first, as JupyterLab does
    import ipywidgets

    fitting = {7: "3.1.1", 8: "5.0.13"}
    for major, version in fitting.items():
        (manager / "package.json").write_text(json.dumps({"version": version}), encoding="utf-8")
        monkeypatch.setattr(ipywidgets, "__version__", f"{major}.7.1")
        assert doctor.check_widgets()[0][1] == "ok"
        monkeypatch.setattr(ipywidgets, "__version__", f"{15 - major}.7.1")
        [row] = doctor.check_widgets()
        assert row[1] == "note" and version in row[2] and str(manager) in row[3]
    monkeypatch.setattr(doctor, "_widget_manager", lambda: None)
    assert "jupyterlab_widgets" in doctor.check_widgets()[0][3]


def test_a_kernelspec_of_another_python_is_noted(monkeypatch, tmp_path):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for command, status in ((os.path.abspath("/no/such/python3"), "note"), (sys.executable, "ok")):
        spec = {"argv": [command, "{connection_file}"], "display_name": "x", "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        [row] = doctor.check_jupyter_kernel()
        assert row[1] == status, row


def test_show_prints_the_report(capsys, monkeypatch):
    rows = [("a", "ok", "fine", ""), ("longer", "MISSING", "not there", "get it")]
    monkeypatch.setattr(doctor, "_CHECKS", [lambda: rows])
    doctor.show()
    assert capsys.readouterr().out == (
        "ok       a       fine\n"
        "MISSING  longer  not there\n"
        "         -> get it\n"
        "\n"
        "One thing the course needs is missing. Repair them from the top and look again.\n"
    )
    monkeypatch.setattr(doctor, "_CHECKS", [lambda: rows[:1]])
    assert doctor.main() == 0 and "Everything the course needs is here." in capsys.readouterr().out


def test_a_check_that_breaks_is_a_line_not_a_crash(monkeypatch):
    def check_something():
        print("noise")
        raise OSError("disk on fire")

    monkeypatch.setattr(doctor, "_CHECKS", [check_something, doctor.check_python])
    first, second = doctor.report()
    assert first["check"] == "something" and first["found"] == "OSError: disk on fire"
    assert first["status"] == "MISSING" and second["status"] == "ok"


def test_in_a_kernel_the_remedy_is_a_cell_magic(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))
    assert packages.pip("x").startswith("%pip install x")
