"""The files around the course agree with each other: requirements, README, CI, licences, wheel."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import sdlearn
from sdlearn.places import chapters

try:
    import tomllib
except ImportError:  # Python 3.10, where pytest brings tomli
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

# What Colab has (August 2026). The course must run on it as it is.
COLAB = {
    "python": "3.13.15",
    "torch": "2.11.0",
    "transformers": "5.15.0",
    "diffusers": "0.39.0",
    "datasets": "4.0.0",
    "numpy": "2.1.3",
    "pillow": "11.3.0",
    "matplotlib": "3.10.0",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
}
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


def requirements(*extras):
    """{name: specifiers} of the course with some of its extras."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    parsed = map(Requirement, lines)
    return {canonicalize_name(one.name): one.specifier for one in parsed if one.name != "sdlearn"}


def pins():
    """Every line of constraints.txt as (name, version, marker or None)."""
    for line in read("constraints.txt").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (specifier,) = pin.specifier
            assert specifier.operator == "==", line
            yield canonicalize_name(pin.name), specifier.version, pin.marker


# Requirements


def test_extras_build_on_one_another():
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"lab", "test", "dev"}
    for lines in extras.values():
        for one in map(Requirement, lines):
            assert one.name != "sdlearn" or one.extras <= set(extras), one
    assert "sdlearn[lab]" in extras["test"] and "sdlearn[test]" in extras["dev"]


def test_ranges_reach_to_colab():
    ranges = requirements("lab")
    assert SpecifierSet(PROJECT["requires-python"]).contains(COLAB["python"])
    for name, version in COLAB.items():
        assert name == "python" or ranges[name].contains(version), (name, version)
    for name, specifiers in requirements().items():
        assert {one.operator for one in specifiers} == {">="}, f"{name}: Colab moves on"


@pytest.mark.parametrize("python", PYTHONS)
def test_each_requirement_has_one_tested_version_on_each_python(python):
    environment = {"python_version": python, "python_full_version": f"{python}.8"}
    valid = {}
    for name, version, marker in pins():
        if marker is None or marker.evaluate(environment):
            assert name not in valid, f"{name} has two versions on Python {python}"
            valid[name] = version
    for name, specifiers in requirements("lab", "test", "dev").items():
        assert name in valid, f"constraints.txt lacks {name}: run tools/pins.py"
        assert specifiers.contains(valid[name]), f"{name} {valid[name]} is not {specifiers}"


def test_conditions_of_the_pins_are_about_python_alone():
    for name, _, marker in pins():
        assert marker is None or "python_full_version" in str(marker), name
        assert not marker or str(marker).count("'3.1") + str(marker).count('"3.1') <= 2, name


def test_pins_are_shortened_without_losing_their_meaning():
    sys.path.insert(0, str(ROOT / "tools"))
    from pins import shorten

    assert shorten("a==1") == "a==1"
    assert shorten("a==1 ; python_full_version < '3.11'") == "a==1 ; python_full_version < '3.11'"
    both = "a==1 ; python_full_version >= '3.11' and python_full_version < '3.12'"
    assert shorten(f"{both} and sys_platform != 'win32'") == both
    assert shorten("a==1 ; sys_platform == 'darwin'") == "a==1"
    assert (
        shorten("a==1 ; (python_full_version >= '3.11' and os_name == 'x') or y == 'z'") == "a==1"
    )
    assert shorten("nvidia-cublas==13.1 ; sys_platform == 'linux'") == ""
    assert Marker(shorten(both).partition(" ; ")[2])


def test_conda_environment_is_in_step():
    file = yaml.safe_load(read("environment.yml"))
    assert (file["name"], file["channels"]) == ("sdlearn", ["conda-forge"])
    *specs, pip = file["dependencies"]
    assert pip == {"pip": ["-e ."]} and "pip" in specs
    specs.remove("pip")
    found = {}
    for spec in specs:
        name = re.match(r"[\w-]+", spec)[0]
        found[CONDA_NAMES.get(name, name)] = SpecifierSet(spec[len(name) :])
    wanted = {**requirements("lab"), "python": SpecifierSet(PROJECT["requires-python"])}
    assert found == wanted


def test_conda_reads_the_specifications():
    rattler = pytest.importorskip("rattler")
    for spec in yaml.safe_load(read("environment.yml"))["dependencies"][:-1]:
        assert rattler.MatchSpec(spec, strict=True).name is not None
    with pytest.raises(Exception, match="(?i)invalid|pars|version"):
        rattler.MatchSpec("python=>3.10", strict=True)  # the check tells wrong from right


def test_the_range_of_python_is_the_same_everywhere():
    allowed = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(7, 17) if f"3.{minor}.0" in allowed]
    assert versions == PYTHONS
    named = [line.split()[-1] for line in PROJECT["classifiers"] if ":: Python ::" in line]
    assert named == PYTHONS
    assert "(3, 10) <= sys.version_info[:2] <= (3, 13)" in read("tools/ready.sh")
    workflow = yaml.safe_load(read(".github/workflows/test.yml"))
    assert workflow["jobs"]["linux"]["strategy"]["matrix"]["python"] == PYTHONS
    assert "Python 3.10 to 3.13" in read("README.md")


# The package


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the working tree, built as pip builds it, and its file names."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    leave_out = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info", "*.parquet")
    shutil.copytree(ROOT, source, ignore=leave_out)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        return file, file.namelist(), path.name


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    _, names, _ = wheel
    info = f"sdlearn-{sdlearn.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"sdlearn", info}
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sdlearn").rglob("*.py")}
    assert {name for name in names if not name.startswith(info)} == package
    licences = {name.split("/")[-1] for name in names if name.startswith(info)}
    assert {"LICENSE", "NOTICE", "entry_points.txt"} <= licences


def test_the_version_stands_in_one_place(wheel):
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert wheel[2].startswith(f"sdlearn-{sdlearn.__version__}-")
    assert yaml.safe_load(read("CITATION.cff"))["version"] == sdlearn.__version__
    assert str(Version(sdlearn.__version__)) == sdlearn.__version__


def test_licences_are_there():
    licence = read("LICENSE")
    assert licence.startswith("MIT License") and "the sdlearn authors" in licence
    assert "WITHOUT WARRANTY OF ANY KIND" in licence
    notice = read("NOTICE")
    for source in ("Fluent", "Noto", "Twemoji", "mojibase", "Unicode", "scikit-image"):
        assert source in notice, source
    for text in ("Permission is hereby granted", "Apache License", "Creative Commons"):
        assert text in notice, text
    for folder in (ROOT / "data").iterdir():
        assert (folder / "README.md").is_file(), f"data/{folder.name} has no card"
        pictures = [*folder.glob("*.parquet"), *folder.glob("*.jpg"), *folder.glob("*.png")]
        assert not pictures or f"data/{folder.name}\n---" in notice, f"not in NOTICE: {folder}"


# README and CONTRIBUTING


def commands(name):
    """The lines of a page's shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", read(name), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_ci_runs_the_command_that_readme_gives():
    assert "make test" in commands("README.md")
    script = read(".ci/run")
    assert script.splitlines()[-1] == "make test"
    assert "set -euo pipefail" in script
    if os.name == "posix":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
        subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".github/workflows/test.yml"])
def test_make_commands_exist(name):
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|run: )make ([a-z][\w-]*)", read(name), re.MULTILINE))
    assert named and named <= targets, f"no such target: {named - targets}"
    variables = set(re.findall(r"make [a-z][\w-]*.*?\b([A-Z_]+)=", read(name)))
    makefile = read("Makefile")
    assert all(re.search(rf"\b{one}\b", makefile) for one in variables), variables


def test_sdlearn_commands_exist():
    lines = re.findall(
        r"sdlearn ((?:lab|run|doctor|grade|[a-z]+)\b[^`\n]*)[`\n]", read("README.md")
    )
    named = {line.split()[0] for line in lines}
    tree = ast.parse(read("sdlearn/cli.py"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    added = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "_add"]
    known = {c.args[1].value for c in added}
    assert named == known, "the README names each command of sdlearn, and no other"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name):
    text = re.sub(r"```.*?```", "", read(name), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    assert links
    for link in links:
        if not re.match(r"https?:|#|mailto:", link):
            assert (ROOT / link.partition("#")[0]).exists(), f"{name}: nothing at {link}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_scripts_and_files_of_commands_exist(name):
    for line in commands(name):
        for path in re.findall(r"(?<![\w/])(?:tools|tests|data)/[\w./]+", line):
            assert (ROOT / path).exists(), line


def test_every_chapter_is_in_the_table_with_its_badge():
    badge = "https://colab.research.google.com/assets/colab-badge.svg"
    blob = REPOSITORY.replace("https://github.com/", "") + "/blob/main/notebooks"
    text = read("README.md")
    there = chapters(ROOT / "notebooks")
    for number, path in there.items():
        colab = f"https://colab.research.google.com/github/{blob}/{path.name}"
        row = re.search(rf"^\| {number} \|.*$", text, re.MULTILINE)
        assert row, f"no row for chapter {number}"
        assert f"](notebooks/{path.name})" in row[0]
        assert f"[![Open in Colab]({badge})]({colab})" in row[0]
    rows = re.findall(r"^\| (\d\d) \|", text, re.MULTILINE)
    assert rows == [f"{n:02}" for n in range(len(rows))]
    linked = re.findall(r"\]\(notebooks/(\d\d)_", text)
    assert set(linked) == set(there), "chapters that are planned have no link"
    assert "planned" not in " ".join(
        row for row in text.splitlines() if re.match(r"\| (\d\d) ", row) and row[2:4] in there
    )


def test_one_address_of_the_repository():
    assert f"git clone {REPOSITORY}" in commands("README.md")
    assert yaml.safe_load(read("CITATION.cff"))["repository-code"] == REPOSITORY


# Continuous integration and hooks


def test_the_workflow_calls_the_documented_commands():
    workflow = yaml.safe_load(read(".github/workflows/test.yml"))
    runs = {
        job: [step["run"] for step in details["steps"] if "run" in step]
        for job, details in workflow["jobs"].items()
    }
    assert runs["linux"] == [".ci/run"]
    assert runs["macos"] == ["make test"]
    assert runs["newest"] == ["make test CONSTRAINTS="]
    # Windows has no make: the README's own lines, with the tests' extra.
    lines = [line.replace(".venv\\Scripts\\python -m ", "") for line in runs["windows"]]
    readme = commands("README.md")
    assert lines[0] in readme
    assert lines[1].replace(".[test]", ".[lab]") in readme
    assert lines[2:] == ["sdlearn doctor", "pytest tests", "sdlearn run"]
    assert "cron" in workflow[True]["schedule"][0]  # YAML reads the key `on` as true


def test_commit_hooks_need_no_network():
    config = yaml.safe_load(read(".pre-commit-config.yaml"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system", hook["id"]
        assert hook["entry"].startswith(".venv/bin/python "), hook["id"]
        for script in re.findall(r"tools/\S+", hook["entry"]):
            assert (ROOT / script).exists(), script


def test_data_keeps_its_bytes_on_every_system():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs git")
    names = ["data/emoji/splits.tsv", "data/emoji/train.parquet", ".ci/run", "tools/ready.sh"]
    done = subprocess.run(
        ["git", "check-attr", "text", "eol", "--", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert (
        found["data/emoji/splits.tsv: text"] == found["data/emoji/train.parquet: text"] == "unset"
    )
    assert found[".ci/run: eol"] == found["tools/ready.sh: eol"] == "lf"
