"""DefectFill's training of a few-shot painter (CVPR 2025): fill a hole with a defect of the wanted type.

    L = w_def L_def + w_obj L_obj + w_attn L_attn
    L_def  = |M (e - e')|^2 / |M|            the hole is the mask: what a defect is
    L_obj  = |W (e - e')|^2 / |W|^2, W = M + alpha (1 - M)    the hole is random boxes: how it sits in the object
    L_attn = |A[V*] - M|^2                   the decoder's cross-attention to [V*]: where it is

e is the target of the backbone's own schedule (noise or v). Both errors are divided by their weights' sum, so that a
small defect counts as much as a large one; the paper takes the mean over the whole image. Clean images take part with
the clean label, which the guidance in painting needs; they have no L_attn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.attention import AttentionMaps, cross_attention
from tasks.diffusion.codec import Codec
from tasks.diffusion.latents import cells_of
from tasks.diffusion.pool import Pool, masked_error, weighted_error
from tasks.diffusion.schedule import stratified_timesteps, training_target
from tasks.networks.device import lower_precision
from tasks.params.systems import LowRankTraining
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone
from tasks.training.loop import AveragedTrainer

_BOXES = 30
_BOX_SIDES = (0.03, 0.25)
"""Of the image's side."""


@dataclass(frozen=True)
class Terms:
    """The three parts of the loss before their weights, scalars."""

    defect: Tensor
    object: Tensor
    attention: Tensor


@dataclass(frozen=True)
class FillingBatch:
    """n images, each of which serves twice in one forward pass: with its mask and with boxes as the hole."""

    latents: Tensor
    """(n, channels, h, w), float16."""
    images: Tensor
    """(n, 3, height, width), uint8."""
    masks: Tensor
    """(n, 1, height, width) of 0 and 1."""
    boxes: Tensor
    """Like the masks."""
    labels: Tensor
    """(n,)."""
    defective: Tensor
    """(n,) of bool."""
    timesteps: Tensor
    """(2 n,)."""
    noise: Tensor
    """(2 n, channels, h, w)."""
    disturbance: Tensor
    """(2 n, tokens, width), of the prompts."""


class DefectFillTrainer(AveragedTrainer[FillingBatch]):
    def __init__(
        self,
        network: LowRankBackbone,
        schedule: DDPMScheduler,
        codec: Codec,
        pool: Pool,
        images: Tensor,
        params: LowRankTraining,
        defective: Tensor,
        seed: int,
    ) -> None:
        """`images` (n, 3, height, width) of bytes are the pool's; `defective` (labels,): whether a label is one."""
        super().__init__(network, params, seed)
        self.model, self.schedule, self.codec, self.params = network, schedule, codec, params
        self.pool, self.images, self.defective = pool, images, defective

    def draw(self, step: int) -> FillingBatch:
        count, pool, generator = self.params.batch_size, self.pool, self.generator(step)
        chosen = torch.randint(len(pool.labels), (count,), generator=generator)
        latents, labels, masks = pool.latents[chosen], pool.labels[chosen], (pool.trimaps[chosen] == 2).float()
        boxes = random_boxes(count, masks.shape[-1], generator)
        timesteps = stratified_timesteps(2 * count, generator)
        noise = torch.randn((2 * count, *latents.shape[1:]), generator=generator)
        disturbance = self.params.prompt_noise * torch.randn(
            (2 * count, *self.model.disturbance_shape), generator=generator
        )
        images = self.images[chosen]
        return FillingBatch(
            latents, images, masks, boxes, labels, self.defective[labels], timesteps, noise, disturbance
        )

    def loss(self, batch: FillingBatch) -> Tensor:
        terms, params = self.terms(batch), self.params
        return (
            params.defect_weight * terms.defect
            + params.object_weight * terms.object
            + params.attention_weight * terms.attention
        )

    def terms(self, batch: FillingBatch) -> Terms:
        masks, labels, timesteps = batch.masks, batch.labels.repeat(2), batch.timesteps
        images = (batch.images.float() / 127.5 - 1).repeat(2, 1, 1, 1)
        hole = self.model.backbone.hole_in(self.codec, images, torch.cat([masks, batch.boxes]))
        latents = batch.latents.float().repeat(2, 1, 1, 1)
        noisy = self.schedule.add_noise(latents, batch.noise, timesteps)
        with (
            cross_attention(self.model.backbone.unet.up_blocks) as attention,
            lower_precision(latents.device),
        ):
            prediction = self.model.predict(noisy, timesteps, labels, hole, batch.disturbance)
        target = training_target(self.schedule, latents, batch.noise, timesteps)
        filled, boxed = zip(prediction.chunk(2), target.chunk(2), strict=True)
        cells = cells_of(masks)
        return Terms(
            masked_error(*filled, cells),
            weighted_error(*boxed, cells, self.params.outside_share**-2),  # W stands inside the norm
            attention_error(attention, masks.repeat(2, 1, 1, 1), batch.defective.repeat(2)),
        )


def attention_error(attention: AttentionMaps, masks: Tensor, counted: Tensor) -> Tensor:
    """L_attn over those images (n,) that are `counted`, at the finest layer's resolution; a scalar, 0 without any."""
    side = max(round(layer.shape[1] ** 0.5) for layer in attention.maps)
    attended = attention.at_side(side)[:, -1]
    covered = functional.adaptive_avg_pool2d(masks, side).squeeze(1)
    error = (attended - covered).square().mean(dim=(1, 2))
    return (error * counted).sum() / counted.sum().clamp_min(1)


def random_boxes(count: int, side: int, generator: torch.Generator) -> Tensor:
    """(count, 1, side, side) of 0 and 1: the union of boxes of random size, place and shape."""
    low, high = _BOX_SIDES
    sizes = low + (high - low) * torch.rand((count, _BOXES, 2, 1), generator=generator)
    starts = (1 - sizes) * torch.rand((count, _BOXES, 2, 1), generator=generator)
    at = (torch.arange(side) + 0.5) / side
    along = ((at >= starts) & (at < starts + sizes)).float()
    boxes = along[:, :, 0].unsqueeze(3) * along[:, :, 1].unsqueeze(2)
    return boxes.amax(dim=1).unsqueeze(1)
