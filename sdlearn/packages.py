"""The installed packages against what the course asks for and what it was tested with."""

import importlib
import re
import sys
from importlib import metadata

from .places import course_root, in_colab

_IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def pip(arguments):
    """The line that installs `arguments` for this Python: in a notebook cell or a terminal."""
    if "ipykernel.zmqshell" in sys.modules:
        return f"%pip install {arguments}   (then restart the kernel)"
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f"{python} -m pip install {arguments}"


def check_packages():
    """A row (check, status, found, remedy) for each package of pyproject's dependencies.

    "MISSING": not there, too old or too new, or it cannot be imported.
    """
    needed, _ = requirements()
    tested = tested_versions()
    return [_check(line, tested, needed) for line in needed]


def check_lab_packages():
    """One row for the packages that only the `sdlearn` commands need, not the chapters."""
    if in_colab():
        return []
    _, lab = requirements()
    rows = [_check(line, {}, lab, importing=False) for line in lab]
    bad = [row for row in rows if row[1] == "MISSING"]
    if not bad:
        return [("lab, run, grade", "ok", f"{len(rows)} packages", "")]
    found = "; ".join(f"{name}: {found}" for name, _, found, _ in bad)
    wanted = " ".join(f'"{line}"' for line in lab if _name(line) in {row[0] for row in bad})
    remedy = f"only for the commands sdlearn lab, run and grade: {pip(wanted)}"
    return [("lab, run, grade", "note", found, remedy)]


def requirements():
    """The requirement lines of the course: (dependencies, those of the extra `lab`).

    From the clone's pyproject.toml; where Python cannot read TOML (3.10) or there is no clone,
    from what was recorded at the installation. Raises LookupError if there is neither.
    """
    try:
        import tomllib

        text = (course_root() / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        return project["dependencies"], project["optional-dependencies"]["lab"]
    except (ImportError, FileNotFoundError):
        pass
    try:
        lines = metadata.requires("sdlearn") or []
    except metadata.PackageNotFoundError:
        raise LookupError("the course is not installed: " + pip('-e ".[lab]"')) from None
    extras = [re.sub(r"\s*;.*", "", line) for line in lines if re.search(r"extra == .lab.", line)]
    return [line for line in lines if "extra ==" not in line], extras


def tested_versions():
    """The versions that the course was run with, by package name, from constraints.txt."""
    try:
        text = (course_root() / "constraints.txt").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    pins = {}
    for line in text.splitlines():
        pin = re.match(r"\s*([\w.-]+)==([^\s;#]+)\s*(?:;\s*([^#]+))?", line)
        if pin and _applies(pin[3]):
            pins[_plain(pin[1])] = pin[2]
    return pins


def _check(line, tested, lines, importing=True):
    """The row of one requirement line such as "diffusers>=0.32"."""
    name = _name(line)
    wanted = f'"{line}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return name, "MISSING", "not installed", pip(wanted)
    if not _in_range(version, line):
        return name, "MISSING", f"{version}, but {line} is needed", pip(wanted)
    problem = _import_problem(name, lines) if importing else None
    if problem:
        found, culprit = problem
        remedy = f"repair {culprit} first" if culprit else pip(f"--force-reinstall {wanted}")
        return name, "MISSING", f"{version}, but it does not import: {found}", remedy
    known = tested.get(_plain(name))
    if known and _newer(version, known):
        return name, "note", f"{version}, newer than the tested {known}", ""
    return name, "ok", version, ""


def _import_problem(name, lines):
    """None if the package imports; else its error in a line, and the package at fault if told."""
    try:
        importlib.import_module(_IMPORT_NAMES.get(name, name))
    except Exception as error:  # a broken binary raises almost anything
        reason = (str(error).strip().splitlines() or [""])[-1][:200]
        at_fault = {_IMPORT_NAMES.get(_name(line), _name(line)): _name(line) for line in lines}
        culprit = at_fault.get((getattr(error, "name", None) or "").partition(".")[0])
        return f"{type(error).__name__}: {reason}", culprit if culprit != name else None
    return None


def _name(line):
    return _NAME.match(line)[0]


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


# packaging comes with most packages above; without it only presence is checked, for it is
# then one of many things that are missing.


def _in_range(version, line):
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return True
    return Requirement(line).specifier.contains(version, prereleases=True)


def _newer(version, known):
    try:
        from packaging.version import Version
    except ImportError:
        return False
    return Version(Version(version).public) > Version(known)


def _applies(marker):
    try:
        from packaging.markers import Marker
    except ImportError:
        return True
    return not marker or Marker(marker.strip()).evaluate()
