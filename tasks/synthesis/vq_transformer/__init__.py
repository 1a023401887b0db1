"""VQ-Transformer: a defect written in tokens (Esser et al., Taming Transformers, arXiv 2012.09841).

In: clean images with masks, and few real defects. Out: the clean images with a defect of the wanted type inside the
mask. An image is a grid of tokens; those whose cell meets the mask are drawn anew, one by one, from a transformer
that has read all others and is told category, defect type and mask; the others stay as they were encoded. The line
blends in at most the mask and its feather, so what a codebook loses is lost nowhere else. The same prior makes new
clean images and tells how normal a region is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tasks.contracts import CLEAN, Image, Mask, Place
from tasks.diffusion import pool
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import mask_tensor, to_images, to_tensor
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.networks.device import device_of
from tasks.params import Params
from tasks.params.systems import VQTransformerParams
from tasks.progress import Report
from tasks.seeds import derive, torch_generator
from tasks.synthesis.protocol import Painted
from tasks.synthesis.vq_transformer.fill import TokenRequest, fill_tokens
from tasks.synthesis.vq_transformer.image_codec import ImageCodec
from tasks.synthesis.vq_transformer.likelihood import negative_log_likelihood
from tasks.synthesis.vq_transformer.prior import Prior, cover_of
from tasks.synthesis.vq_transformer.training import (
    fit_image_codec,
    fit_prior,
    load_fitted_image_codec,
    load_fitted_prior,
)


@dataclass(frozen=True)
class Model:
    codec: ImageCodec
    prior: Prior
    table: LabelTable
    side: int
    """Tokens a side of a whole image."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train the codebook, make pseudo-masks where labels are per image, train the prior."""
    fit_image_codec(inputs, params, workdir, device, report)
    pseudo_store.fit_pseudo_masks(inputs, params, workdir, report)
    fit_prior(inputs, params, workdir, device, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    codec, table = load_fitted_image_codec(params, workdir, device), pool.label_table(inputs)
    prior = load_fitted_prior(codec, table, params, workdir)
    return Model(codec, prior, table, params.dataset.image_size // codec.factor)


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Images (n, 3, height, width). One place at a time: as many tokens are drawn for it as its mask meets."""
    own = params.of(VQTransformerParams)
    return Painted(images=torch.cat([_paint(model, place, own) for place in places]))


def repaint_ids(model: Model, place: Place, params: VQTransformerParams) -> tuple[Tensor, Tensor]:
    """The ids (h, w) of the clean image, and the same with those that the mask meets drawn anew."""
    ids = _encode(model, place.clean.image)
    covers = cover_of(mask_tensor([place.mask]), model.codec.factor)[0]
    label, rival = (model.table.index(place.spec.category, name) for name in (place.spec.defect_type, CLEAN))
    wish = TokenRequest(label, rival, place.spec.strength, params.temperature, params.top_k)
    generator = torch_generator(derive(place.spec.seed, "paint"))
    return ids, fill_tokens(model.prior, ids, covers > 0, covers, wish, generator)


def _encode(model: Model, image: Image) -> Tensor:
    return model.codec.encode(to_tensor([image], device_of(model.codec)))[0]


def _paint(model: Model, place: Place, params: VQTransformerParams) -> Tensor:
    return model.codec.decode(repaint_ids(model, place, params)[1][None])


def new_clean_images(model: Model, category: str, count: int, seed: int) -> list[Image]:
    """Clean images from nothing; the first ones do not depend on how many there are to be."""
    label = model.table.index(category, CLEAN)
    empty = torch.zeros((model.side, model.side), dtype=torch.long)
    images: list[Image] = []
    for number in range(count):
        generator = torch_generator(derive(seed, f"clean {number}"))
        wish = TokenRequest(label, label, strength=1.0)
        ids = fill_tokens(model.prior, empty, empty == 0, empty, wish, generator, placed=True)
        images += to_images(model.codec.decode(ids[None]))
    return images


def in_mask_nll(model: Model, category: str, image: Image, mask: Mask) -> float:
    """Mean nats of the tokens that the mask meets under the clean label, given all others: low is normal."""
    ids = _encode(model, image)
    covers = cover_of(mask_tensor([mask]), model.codec.factor)[0]
    label = model.table.index(category, CLEAN)
    nats = negative_log_likelihood(model.prior, ids, covers > 0, covers, label)
    return float(nats[covers > 0].mean())
