"""Networks that do not belong together are named before anything is trained, in a line that says what to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import load_codec
from tasks.diffusion.compatibility import check_networks
from tasks.files.names import BACKBONE, CODEC, DENOISER
from tasks.params import CodecParams, Params, load_params
from tests.diffusion.tiny_stable_diffusion import for_inpainting, save_tiny_pipeline
from tests.factory_fixtures import write_params

EVERYTHING = (CODEC, BACKBONE, DENOISER)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_pipeline(tmp_path_factory.mktemp("text")))


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(for_inpainting(save_tiny_pipeline(tmp_path_factory.mktemp("inpainting"))))


def params_of(folder: Path, **blocks: dict[str, Any]) -> Params:
    return load_params(write_params(folder, **{"codec": {"crop": 32}, **blocks}))


def pretrained(path: str) -> dict[str, Any]:
    return {"kind": "pretrained", "path": path}


def test_what_belongs_together_passes(tmp_path: Path, text: str, inpainting: str) -> None:
    check_networks(params_of(tmp_path), EVERYTHING)
    for backbone in (text, inpainting):
        blocks = {"codec": pretrained(text), "backbone": pretrained(backbone), "denoiser": pretrained(text)}
        check_networks(params_of(tmp_path, **blocks), EVERYTHING)


def test_crops_larger_than_images(tmp_path: Path) -> None:
    params = params_of(tmp_path, dataset={"image_size": 64}, codec={"crop": 128})
    with pytest.raises(DefectoryError, match=r"codec\.crop: expected at most dataset\.image_size, 64, got 128"):
        check_networks(params, (CODEC,))
    check_networks(params, ())


@pytest.mark.parametrize(("block", "product"), [("backbone", BACKBONE), ("denoiser", DENOISER)])
def test_a_pretrained_unet_with_the_codec_of_this_project(block: str, product: str, tmp_path: Path, text: str) -> None:
    params = params_of(tmp_path, **{block: pretrained(text)})
    with pytest.raises(DefectoryError, match=rf"{block}\.path .*4 channels.*has 8; .*codec\.kind: pretrained"):
        check_networks(params, (CODEC, product))


def test_an_inpainting_unet_for_a_controlnet(tmp_path: Path, text: str, inpainting: str) -> None:
    params = params_of(tmp_path, codec=pretrained(text), denoiser=pretrained(inpainting))
    with pytest.raises(DefectoryError, match=r"denoiser\.path .*for text, got one for inpainting, of 9 channels"):
        check_networks(params, (CODEC, DENOISER))


def test_a_prediction_that_nobody_here_reads(tmp_path: Path, text: str) -> None:
    folder = Path(save_tiny_pipeline(tmp_path / "pipeline"))
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "sample"}))
    params = params_of(tmp_path, codec=pretrained(text), backbone=pretrained(str(folder)))
    with pytest.raises(DefectoryError, match=r"backbone\.path .*prediction_type is 'sample', expected one of epsilon"):
        check_networks(params, (CODEC, BACKBONE))


def test_a_folder_without_a_pipeline(tmp_path: Path, text: str) -> None:
    params = params_of(tmp_path, codec=pretrained(text), backbone=pretrained(str(tmp_path)))
    with pytest.raises(DefectoryError, match=r"backbone\.path .*its unet could not be loaded"):
        check_networks(params, (CODEC, BACKBONE))
    params = params_of(tmp_path, codec=pretrained(str(tmp_path)))
    with pytest.raises(DefectoryError, match=r"codec\.path .*no AutoencoderKL could be loaded"):
        check_networks(params, (CODEC,))


def test_a_pipelines_folder_names_its_autoencoder(text: str) -> None:
    by_pipeline, by_itself = (load_codec(CodecParams(**pretrained(path))) for path in (text, f"{text}/vae"))
    weights = by_itself.state_dict()
    assert all((tensor == weights[name]).all() for name, tensor in by_pipeline.state_dict().items())
