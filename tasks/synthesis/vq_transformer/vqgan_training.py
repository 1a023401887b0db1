"""Stage one: the embedded codec learns to speak in tokens (Taming Transformers, arXiv 2012.09841, section 3.1).

L = |x - x^| + w LPIPS + beta L_commit + lambda d L_G, with the adaptive lambda of eq. 7. The discriminator learns for
a while before its verdict counts, which then is ramped up: woken at full weight, it wrecks the reconstructions, the
most frequent complaint about the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasks.contracts import Image
from tasks.diffusion.codec_training import crop_batches
from tasks.diffusion.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    augment,
    discriminator_loss,
    ramp,
)
from tasks.networks.device import device_of, lower_precision
from tasks.networks.lpips import shared_lpips
from tasks.params.systems import TokenCodecParams
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.vq_transformer.image_codec import EmbeddedImageCodec
from tasks.training.loop import Trainer

_RAMP = 0.2
_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class Crops:
    """What a step is told."""

    images: Tensor
    """(n, 3, crop, crop) in [-1, 1]."""
    generator: torch.Generator
    """Of all else that is drawn: how much that is depends on what the networks say."""


class VQGANTraining(Trainer[Crops]):
    def __init__(self, codec: EmbeddedImageCodec, images: Sequence[Image], params: TokenCodecParams, seed: int) -> None:
        """`images` are uint8 (height, width, 3)."""
        torch.manual_seed(derive(seed, "discriminator") % 2**32)
        discriminator = PatchDiscriminator(params.discriminator_width).to(device_of(codec))
        optimizers = [
            torch.optim.Adam(network.requires_grad_(True).parameters(), params.learning_rate, betas=_BETAS, fused=True)
            for network in (codec, discriminator)
        ]
        super().__init__(nn.ModuleDict({"codec": codec, "discriminator": discriminator}), optimizers, params, seed)
        self.codec, self.discriminator, self.images, self.params = codec, discriminator, images, params

    def draw(self, step: int) -> Crops:
        chance = numpy_generator(derive(self.seed, f"step {step}"))
        crops = next(crop_batches(self.images, self.params.crop, self.params.batch_size, chance))
        return Crops(crops, self.generator(step))

    def update(self, batch: Crops) -> Tensor:
        images, generator = batch.images, batch.generator
        with lower_precision(images.device):
            vectors = self.codec.vectors(images)
            quantised = self.codec.quantiser(vectors)
            rebuilt = self.codec.rebuild(quantised.codes).float()
        self.codec.quantiser.follow(vectors.detach(), generator)
        loss, gradient = self._verdict(rebuilt, images, generator)
        self.optimizers[0].zero_grad(set_to_none=True)
        commitment = self.params.commitment * quantised.distances
        torch.autograd.backward([rebuilt, commitment], [gradient, torch.ones_like(commitment)])
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        self.optimizers[0].step()
        if self.step >= self.params.discriminator_start * self.params.steps:
            self._teach_discriminator(images, rebuilt.detach(), generator)
        return loss + commitment.detach()

    def _verdict(self, rebuilt: Tensor, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The reconstruction loss, and the gradient of L_rec + lambda d L_G with respect to the reconstruction."""
        leaf = rebuilt.detach().requires_grad_()
        loss = reconstruction_loss(leaf, images, self.params.lpips_weight)
        (gradient,) = torch.autograd.grad(loss, leaf)
        share = ramp(self.step, self.params.steps, self.params.discriminator_start + _RAMP / 2, _RAMP)
        if share > 0:
            with lower_precision(leaf.device):
                verdict = -self.discriminator(augment(leaf, generator)).float().mean()
            (adversarial,) = torch.autograd.grad(verdict, leaf)
            weight = self.adversarial_weight(rebuilt, gradient, adversarial)
            gradient = gradient + share * self.params.discriminator_weight * weight * adversarial
        return loss.detach(), gradient

    def adversarial_weight(self, rebuilt: Tensor, reconstruction: Tensor, adversarial: Tensor) -> Tensor:
        """lambda, from two gradients with respect to `rebuilt`, carried on to the decoder's last layer."""
        layer = self.codec.last_layer.weight
        first, second = (
            torch.autograd.grad(rebuilt, layer, gradient, retain_graph=True)[0]
            for gradient in (reconstruction, adversarial)
        )
        return adaptive_weight(first, second)

    def _teach_discriminator(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> None:
        with lower_precision(real.device):
            logits = self.discriminator(augment(torch.cat([real, fake]), generator)).float()
        self.optimizers[1].zero_grad(set_to_none=True)
        discriminator_loss(*logits.chunk(2)).backward()
        self.optimizers[1].step()


def reconstruction_loss(rebuilt: Tensor, images: Tensor, lpips_weight: float) -> Tensor:
    """Mean absolute error + lpips_weight * LPIPS of images (n, 3, h, w) in [-1, 1]."""
    with lower_precision(images.device):
        perceptual = shared_lpips(device=images.device)(rebuilt, images).float().mean()
    return (rebuilt - images).abs().mean() + lpips_weight * perceptual
