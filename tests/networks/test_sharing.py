"""One copy of a network for all who hold it, and none once nobody does."""

from __future__ import annotations

import gc
from pathlib import Path

import torch
from torch import nn

from tasks.diffusion.codec import SHIPPED
from tasks.diffusion.codec_training import load_fitted_codec, own_fitted_codec
from tasks.diffusion.text_backbone import load_fitted_backbone, own_fitted_backbone
from tasks.files.names import CODEC
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import read_inputs
from tasks.networks.device import HOST
from tasks.networks.sharing import SharedNetworks
from tasks.params import load_params
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline
from tests.factory_fixtures import write_params, write_photographs


def test_a_network_is_loaded_once_for_all_who_hold_it_and_again_when_nobody_does() -> None:
    loads: list[str] = []

    def load() -> nn.Module:
        loads.append("again")
        return nn.Linear(1, 1)

    shared: SharedNetworks[nn.Module] = SharedNetworks()
    one, other = shared.get("a", load), shared.get("a", load)
    assert one is other
    assert shared.get("b", load) is not one
    assert len(loads) == 2
    del one, other
    gc.collect()
    shared.get("a", load)
    assert len(loads) == 3


def test_systems_share_backbone_and_codec_and_who_changes_one_has_a_copy(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    pipeline = str(save_tiny_pipeline(tmp_path / "pipeline"))
    params = load_params(write_params(tmp_path, backbone={"kind": "pretrained", "path": pipeline}))
    build_inputs(params, tmp_path, tmp_path / "inputs")
    inputs, models = read_inputs(tmp_path / "inputs"), tmp_path / "models"
    models.mkdir()
    (models / CODEC).write_bytes(SHIPPED.read_bytes())
    first, second = (load_fitted_backbone(inputs, params, models, HOST) for _ in range(2))
    assert first[0] is second[0]
    assert first[2] is second[2] is load_fitted_codec(params, models, HOST)
    changed = own_fitted_backbone(inputs, params, models, HOST)
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    assert not torch.equal(next(changed.parameters()), next(first[0].parameters()))
    assert own_fitted_codec(params, models, HOST) is not first[2]
