"""The codec of masks: an outline of 64 x 64 pixels to 16 x 16 tokens, and back.

Taming Transformers (arXiv 2012.09841, appendix) quantises segmentation maps with a VQGAN of its own and a binary
cross-entropy; a binary outline needs no more than a few convolutions on its unshuffled pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.params.systems import MaskCodecParams
from tasks.synthesis.vq_transformer.quantiser import Quantiser
from tasks.training.loop import Trainer

MASK_FACTOR = 4
_WIDTH = 64


class MaskCodec(nn.Module):
    """Masks (n, 1, h, w) of 0 and 1 to ids (n, h / 4, w / 4), and back."""

    def __init__(self, params: MaskCodecParams) -> None:
        super().__init__()
        self.encoder = _convolutions(MASK_FACTOR**2, params.code_dim)
        self.decoder = _convolutions(params.code_dim, MASK_FACTOR**2)
        self.quantiser = Quantiser(params.codebook_size, params.code_dim)

    def vectors(self, masks: Tensor) -> Tensor:
        vectors: Tensor = self.encoder(functional.pixel_unshuffle(masks, MASK_FACTOR) * 2 - 1)
        return vectors

    def rebuild(self, codes: Tensor) -> Tensor:
        """Logits (n, 1, h, w)."""
        return functional.pixel_shuffle(self.decoder(codes), MASK_FACTOR)

    @torch.no_grad()
    def encode(self, masks: Tensor) -> Tensor:
        ids: Tensor = self.quantiser(self.vectors(masks)).ids
        return ids

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Bool (n, h, w)."""
        return self.rebuild(self.quantiser.lookup(ids)).squeeze(1) > 0


@dataclass(frozen=True)
class Masks:
    """What a step is told."""

    masks: Tensor
    """(n, 1, h, w) of 0 and 1."""
    generator: torch.Generator
    """Of all else that is drawn: how much that is depends on the codebook."""


class MaskCodecTraining(Trainer[Masks]):
    def __init__(self, codec: MaskCodec, outlines: Tensor, params: MaskCodecParams, seed: int) -> None:
        """`outlines` (n, 1, h, w) are 0 and 1, on the host."""
        optimizer = torch.optim.Adam(codec.requires_grad_(True).parameters(), params.learning_rate)
        super().__init__(codec, [optimizer], params, seed)
        self.codec, self.outlines, self.params = codec, outlines, params

    def draw(self, step: int) -> Masks:
        generator = self.generator(step)
        chosen = torch.randint(len(self.outlines), (self.params.batch_size,), generator=generator)
        return Masks(self.outlines[chosen].float(), generator)

    def update(self, batch: Masks) -> Tensor:
        vectors = self.codec.vectors(batch.masks)
        quantised = self.codec.quantiser(vectors)
        self.codec.quantiser.follow(vectors.detach(), batch.generator)
        loss = functional.binary_cross_entropy_with_logits(self.codec.rebuild(quantised.codes), batch.masks)
        loss = loss + self.params.commitment * quantised.distances
        self.optimizers[0].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[0].step()
        return loss.detach()


def _convolutions(source: int, target: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(source, _WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(_WIDTH, target, 1),
    )
