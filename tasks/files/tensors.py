"""Tensors in safetensors files, written whole or not at all, with a few words of metadata."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.contracts import DefectoryError
from tasks.files.atomic import replacing


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors of any device; the file appears whole or not at all.

    Raises DefectoryError where the disk is full or refuses.
    """
    with replacing(path) as partial:
        try:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # which tells the system's error in its text alone
            number = re.search(r"os error (\d+)", str(error))
            raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else error) from None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file in float32, on the host.

    Raises DefectoryError that names the file and the next step.
    """
    if not path.is_file():
        raise DefectoryError(f"{path}: no such weight file; `defectory doctor` says which weights are missing")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise DefectoryError(
            f"{path}: expected safetensors weights, got something else ({error}); pickled weights are not read, "
            "convert the file with safetensors.torch.save_file"
        ) from None


def metadata_of(path: Path) -> dict[str, str]:
    """What `save_codec` recorded with the weights: recipe, training data, licence."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})
