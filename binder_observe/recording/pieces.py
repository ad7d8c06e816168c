"""How the pieces of a rotated recording are called."""

from __future__ import annotations

import os
import re


def piece_path(path: str, index: int) -> str:
    """`trace.0001.arrows` is the first piece of `trace.arrows`."""
    stem, suffix = os.path.splitext(path)
    return f"{stem}.{index:04}{suffix}"


def pieces_of(path: str) -> list[str]:
    """The files that are called like pieces of `path`, by index; there need not be any."""
    folder, name = os.path.split(path)
    stem, suffix = map(re.escape, os.path.splitext(name))
    try:
        there = os.listdir(folder or ".")
    except OSError:
        return []
    found = [(int(match[1]), file) for file in there if (match := re.fullmatch(rf"{stem}\.(\d{{4,}}){suffix}", file))]
    return [os.path.join(folder, file) for _, file in sorted(found)]
