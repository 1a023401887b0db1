"""A folder that is replaced as a whole: its readers see the old one or the new one, and never a half.

In: a folder built elsewhere on the same disk. Out: that folder under its final name. Until the moment of the swap the
old one is untouched; a crash between the two renames of the swap is mended by the next call of `begin`.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def begin(final: Path) -> Path:
    """An empty folder beside `final` to build in; puts back what a crash in `swap_in` had set aside."""
    previous = _previous(final)
    if previous.exists() and not final.exists():
        previous.rename(final)
    building = final.with_name(f".{final.name}.partial")
    _remove(building)
    building.mkdir(parents=True)
    return building


def swap_in(building: Path, final: Path) -> None:
    """Give `building` the name `final`; what had that name is removed after."""
    previous = _previous(final)
    _remove(previous)
    if final.exists():
        final.rename(previous)
    building.rename(final)
    _remove(previous)
    _remove(refused_name(final))


def refuse(building: Path, final: Path) -> Path:
    """Set `building` aside to be looked at, leave `final` as it is, and return where it went."""
    refused = refused_name(final)
    _remove(refused)
    return building.rename(refused)


def refused_name(final: Path) -> Path:
    return final.with_name(f"{final.name}.refused")


def _previous(final: Path) -> Path:
    return final.with_name(f".{final.name}.previous")


def _remove(folder: Path) -> None:
    """Under another name: a folder that is half removed must not be taken for one that was set aside."""
    removed = folder.with_name(f"{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if folder.exists():
        folder.rename(removed)
        shutil.rmtree(removed)
