#!/bin/sh
# Makes .venv ready for a command of the Makefile: finds a Python, makes the environment and
# installs the course with the extras named (lab, test or dev). Does nothing when it is ready.
#
#     sh tools/ready.sh lab
#
# From the environment:
#   PYTHON       the Python to use (else python3, python, python3.13 ... python3.10, if it fits)
#   CONSTRAINTS  file of tested versions; empty for the newest releases (default constraints.txt)
#   TORCH_INDEX  package index to fetch torch from first, such as PyTorch's own for CPU builds
set -eu
cd "$(dirname "$0")/.."
extra=$1
constraints=${CONSTRAINTS-constraints.txt}

say() { printf '%s\n' "$*" >&2; }

# Why the Python $1 does not suit; nothing if it does.
unfit() {
    command -v "$1" >/dev/null 2>&1 || { echo "not found"; return; }
    "$1" - 2>/dev/null <<'PYTHON' || echo "does not start"
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    print("is Python %d.%d, and the course needs 3.10 to 3.13" % sys.version_info[:2])
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("cannot make environments (no venv); on Debian and Ubuntu: "
              "sudo apt install python%d.%d-venv" % sys.version_info[:2])
PYTHON
}

# The Python to make the environment with, in $python.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        reason=$(unfit "$PYTHON")
        [ -z "$reason" ] && { python=$PYTHON; return; }
        say "PYTHON=$PYTHON: $reason."
        exit 1
    fi
    reasons=
    for python in python3 python python3.13 python3.12 python3.11 python3.10; do
        reason=$(unfit "$python")
        [ -z "$reason" ] && return
        [ "$reason" = "not found" ] || reasons="$reasons
  $python $reason"
    done
    say "No Python that suits the course was found.${reasons:-
  (none at all on the PATH)}"
    say "Install Python 3.12 (https://www.python.org/downloads), or name one of yours:"
    say "  make $extra PYTHON=/path/to/python3.12"
    exit 1
}

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none; }

# What an installation depends on: if any of it changes (or the clone moves), it is done again.
key() {
    pwd -P
    version .venv/bin/python
    echo "constraints: $constraints"
    cat pyproject.toml ${constraints:+"$constraints"} | cksum
}

if [ -n "$constraints" ] && [ ! -f "$constraints" ]; then
    say "CONSTRAINTS=$constraints: no such file. Leave it empty for the newest releases."
    exit 1
fi

here=$(version .venv/bin/python)
if [ "$here" = none ] || { [ -n "${PYTHON:-}" ] && [ "$here" != "$(version "$PYTHON")" ]; }; then
    find_python
    say "Making .venv with $python (Python $(version "$python"))"
    rm -f .venv/ready-*
    "$python" -m venv --clear .venv
fi

case $extra in
    lab) enough="lab test dev" ;;
    test) enough="test dev" ;;
    *) enough=$extra ;;
esac
key=$(key)
for done in $enough; do
    if [ "$(cat ".venv/ready-$done" 2>/dev/null)" = "$key" ]; then exit 0; fi
done

say "Installing the course and what it needs into .venv: some minutes the first time"
rm -f .venv/ready-* # an interrupted installation leaves no mark
python=.venv/bin/python
pip() {
    "$python" -m pip install --disable-pip-version-check ${constraints:+-c "$constraints"} "$@"
}
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip --upgrade >/dev/null
if {
    pip "pip>=22" && # older ones cannot install a pyproject.toml in place
    { [ -z "${TORCH_INDEX:-}" ] || pip --no-deps --index-url "$TORCH_INDEX" torch; } &&
        if [ -n "$constraints" ]; then
            pip -e ".[$extra]"
        else
            pip --upgrade --upgrade-strategy eager -e ".[$extra]"
        fi
}; then
    printf '%s\n' "$key" >".venv/ready-$extra"
else
    say ""
    say "The installation did not finish; pip says why above. The same command tries again."
    exit 1
fi
