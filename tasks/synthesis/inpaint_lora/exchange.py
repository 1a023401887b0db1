"""The painter's adapters in the form of diffusers' `load_lora_weights` and `save_lora_weights`, and back.

In: the state of a `LowRankBackbone`, or of a file of diffusers'. Out: the other. The learned tokens are ours alone: a
pipeline of diffusers takes the adapters, and is told the type in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tasks.contracts import DefectoryError
from tasks.files.tensors import read_safetensors, write_safetensors
from tasks.synthesis.inpaint_lora.low_rank import ADAPTER
from tasks.wording import first_few

_OURS, _THEIRS = "backbone.unet.", "unet."
_ALPHA = ".alpha"


def export_adapters(fitted: Path, out: Path) -> None:
    """Write the adapters of a fitted painter (`models/inpaint_lora.safetensors`) for `load_lora_weights(out)`."""
    write_safetensors(out, as_diffusers(read_safetensors(fitted)))


def as_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers; what is no adapter is left out."""
    adapters = {name: tensor for name, tensor in state.items() if name.startswith(_OURS) and "lora_" in name}
    return {
        _THEIRS + name.removeprefix(_OURS).replace(f".{ADAPTER}.", "."): tensor.contiguous()
        for name, tensor in adapters.items()
    }


def from_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of ours; a file's own scale, alpha over rank, goes into its weights, as ours have none.

    Raises DefectoryError for a file without adapters of a U-Net.
    """
    found = {name: tensor for name, tensor in state.items() if name.startswith(_THEIRS) and "lora_" in name}
    if not found:
        raise DefectoryError(
            f"expected adapters of a U-Net, '{_THEIRS}….lora_A.weight', got {', '.join(first_few(sorted(state), 3))}; "
            "save them with diffusers' save_lora_weights(unet_lora_layers=…)"
        )
    return {_our_name(name): tensor * _scale_of(name, tensor, state) for name, tensor in found.items()}


def _our_name(name: str) -> str:
    module, _, kind = name.removeprefix(_THEIRS).rpartition(".")
    return f"{_OURS}{module}.{ADAPTER}.{kind}"


def _scale_of(name: str, tensor: Tensor, state: Mapping[str, Tensor]) -> float:
    module, _, side = name.rpartition(".lora_")
    alpha = state.get(module + _ALPHA)
    return float(alpha) / tensor.shape[1] if alpha is not None and side.startswith("B") else 1.0
