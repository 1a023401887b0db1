"""SDAS: strength-controllable diffusion anomaly synthesis (RealNet, CVPR 2024, arXiv 2403.05897).

In: clean images with masks; no defects are needed. Out: I_a = (1 - M) I + M (alpha A + (1 - alpha) I), where A is a
sample of the clean images' diffusion model with the variance of every step inflated to (1 + s) sigma^2.

RealNet draws A from pure noise: another object, not aligned with I, whose patch in I is a sticker. Here A begins as I
itself with the noise of a later timestep (`sdas.start`) and is anchored to it (`sdas.anchored`, see
`tasks.synthesis.sdas.sampler`): it is I at s = 0, and drifts the further from it the larger s is, so edges run on
across the mask. `start: 1, anchored: false, grain: 1` is RealNet's. s is the spec's strength, one a sample and
recorded; RealNet draws one a batch and forgets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.contracts import Place
from tasks.diffusion import codec_training
from tasks.diffusion.codec import Codec
from tasks.diffusion.latents import blend, cells_of, mask_tensor, to_tensor
from tasks.inputs.dataset import Inputs
from tasks.networks.device import device_of, lower_precision
from tasks.params import Params
from tasks.params.systems import SdasParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator, torch_generator
from tasks.synthesis.protocol import Painted, full_batches
from tasks.synthesis.sdas.denoiser import CleanDenoiser
from tasks.synthesis.sdas.sampler import InflatedSampler, Randomness
from tasks.synthesis.sdas.training import fit_clean_diffusion, load_clean_diffusion, to_space

_LARGEST_IN_PIXELS = 64


@dataclass(frozen=True)
class Model:
    codec: Codec | None
    """None in pixel space."""
    denoiser: CleanDenoiser
    schedule: DDPMScheduler
    categories: tuple[str, ...]


def in_pixels(params: Params) -> bool:
    """Whether the images themselves are diffused, not their latents."""
    space = params.of(SdasParams).model.space
    return space == "pixel" or (space == "auto" and params.dataset.image_size <= _LARGEST_IN_PIXELS)


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fine-tune the codec, where there is one, and train the diffusion model, both on the train split."""
    if not in_pixels(params):
        codec_training.fit_codec(inputs, params, workdir, device, report)
    fit_clean_diffusion(inputs, params, _codec(params, workdir, device), workdir, device, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    codec = _codec(params, workdir, device)
    denoiser, schedule = load_clean_diffusion(inputs, params, codec, workdir, device)
    return Model(codec, denoiser, schedule, inputs.categories)


def _codec(params: Params, workdir: Path, device: torch.device) -> Codec | None:
    return None if in_pixels(params) else codec_training.load_fitted_codec(params, workdir, device)


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Latents, or in pixel space images, painted in batches of `paint.batch_size`."""
    batches = full_batches(places, params.paint.batch_size)
    mixed = torch.cat([_paint_batch(model, batch, params)[:count] for batch, count in batches])
    return Painted(images=mixed) if model.codec is None else Painted(latents=mixed, codec=model.codec)


def _paint_batch(model: Model, places: Sequence[Place], params: Params) -> Tensor:
    device = device_of(model.denoiser)
    cleans = to_space(model.codec, to_tensor([place.clean.image for place in places], device))
    limits = params.of(SdasParams).opacity
    opacity = torch.tensor([_opacity(place, limits) for place in places]).view(-1, 1, 1, 1).to(device)
    if model.codec is not None:
        # The decoder is adapted to the clean image around the mask; the paste itself is the line's, in pixels.
        opacity = opacity * cells_of(mask_tensor([place.mask for place in places], device))
    return blend(anomalous(model, places, cleans, params), cleans, opacity)


def anomalous(model: Model, places: Sequence[Place], cleans: Tensor, params: Params) -> Tensor:
    """A for each place, (n, channels, h, w) in the model's space, as `cleans`."""
    categories = torch.tensor([model.categories.index(place.clean.category) for place in places], device=cleans.device)
    strengths = torch.tensor([place.spec.strength for place in places], device=cleans.device)
    randomness = Randomness(_generators(places, "sample"), _generators(places, "inflate"))

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        with lower_precision(noisy.device):
            return model.denoiser(noisy, timesteps, categories).float()

    sdas, pixels = params.of(SdasParams), model.codec is None
    grain = sdas.grain if pixels else 1
    sampler = InflatedSampler(predict, model.schedule, sdas.steps, sdas.start, sdas.anchored, grain, clip=pixels)
    return sampler.sample(cleans, strengths, randomness)


def _generators(places: Sequence[Place], purpose: str) -> list[torch.Generator]:
    return [torch_generator(derive(place.spec.seed, purpose)) for place in places]


def _opacity(place: Place, limits: tuple[float, float]) -> float:
    return float(numpy_generator(derive(place.spec.seed, "opacity")).uniform(*limits))
