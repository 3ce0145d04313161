"""How much memory there is (needs nothing but Python, and psutil if it is there)."""

from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def memory():
    """Total and free memory in bytes, within a container's limit; (None, None) if unknown."""
    try:
        import psutil
    except ImportError:
        return None, None
    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    try:
        limit = int((_GROUP / "memory.max").read_text(encoding="utf-8"))
        used = int((_GROUP / "memory.current").read_text(encoding="utf-8"))
        lines = (_GROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
        parts = {name: int(number) for name, number in (line.split() for line in lines)}
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return total, free
    # Pages of files that were read count as used, and are given up when there is need.
    used -= parts.get("inactive_file", 0) + parts.get("active_file", 0)
    return min(total, limit), max(0, min(free, limit - used))
