"""Do the networks that params name belong together? Asked before anything is trained, of their configurations alone.

In: params, and the products of the systems in use. Out: nothing, or one DefectoryError that says what to change.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from diffusers import DDPMScheduler, UNet2DConditionModel

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import LATENT_CHANNELS, autoencoder_config
from tasks.diffusion.pretrained import load_part_config
from tasks.files.names import BACKBONE, CODEC, DENOISER
from tasks.params import CodecParams, Params

_KNOWN_PREDICTIONS = ("epsilon", "v_prediction")


def check_networks(params: Params, products: Collection[str]) -> None:
    """`products`: the files that the systems in use leave, by which it is known what they are made of.

    Raises DefectoryError for networks that do not fit together or cannot be found.
    """
    if CODEC in products:
        _check_crop(params)
    channels = _latent_channels(params.codec) if {CODEC, BACKBONE, DENOISER} & set(products) else 0
    if BACKBONE in products and params.backbone.kind == "pretrained":
        _check_unet("backbone.path", params.backbone.path, channels, inpainting=True)
    if DENOISER in products and params.denoiser.kind == "pretrained":
        _check_unet("denoiser.path", params.denoiser.path, channels, inpainting=False)


def _check_crop(params: Params) -> None:
    codec, side = params.codec, params.dataset.image_size
    if codec.kind == "embedded" and codec.fine_tune_steps and codec.crop > side:
        raise DefectoryError(
            f"codec.crop: expected at most dataset.image_size, {side}, got {codec.crop}: the codec is fine-tuned on "
            "crops of the images; lower codec.crop, or set codec.fine_tune_steps to 0"
        )


def _latent_channels(codec: CodecParams) -> int:
    return int(autoencoder_config(codec.path)["latent_channels"]) if codec.kind == "pretrained" else LATENT_CHANNELS


def _check_unet(key: str, path: str, channels: int, inpainting: bool) -> None:
    unet = load_part_config(UNet2DConditionModel, path, "unet", key)
    made_for = unet["in_channels"] - unet["out_channels"]
    if unet["out_channels"] != channels:
        raise DefectoryError(
            f"{key} {path!r}: its U-Net paints latents of {unet['out_channels']} channels, the dataset's codec has "
            f"{channels}; take the codec that it was made for: codec.kind: pretrained, codec.path: {path}"
        )
    if made_for and not inpainting:
        raise DefectoryError(
            f"{key} {path!r}: expected a U-Net for text, got one for inpainting, of {unet['in_channels']} channels; "
            "give the pipeline that it was made from, or paint with a system that has a backbone"
        )
    if made_for not in (0, unet["out_channels"] + 1):
        raise DefectoryError(
            f"{key} {path!r}: expected a U-Net for text or inpainting, got {unet['in_channels']} channels in and "
            f"{unet['out_channels']} out; give another pipeline"
        )
    _check_prediction(key, path, load_part_config(DDPMScheduler, path, "scheduler", key))


def _check_prediction(key: str, path: str, schedule: dict[str, Any]) -> None:
    predicts = schedule.get("prediction_type", "epsilon")
    if predicts not in _KNOWN_PREDICTIONS:
        raise DefectoryError(
            f"{key} {path!r}: its scheduler's prediction_type is {predicts!r}, expected one of "
            f"{', '.join(_KNOWN_PREDICTIONS)}; give another pipeline"
        )
