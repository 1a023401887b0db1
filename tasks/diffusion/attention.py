"""The cross-attentions of a text-conditional U-Net: their maps read, their scores edited, while a block lasts.

In: a diffusers U-Net. Out: attention probabilities that gradients flow through. AnomalyDiffusion re-weights the scores
of its anomaly tokens; AnomalyAny maximises the map of a word; DefectFill fits the map of a token to the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

EditScores = Callable[[Tensor, int], Tensor]
"""(scores (n, heads, side * side, tokens), side) -> scores: the logits before the softmax."""


@dataclass
class AttentionMaps:
    """What the cross-attentions of one forward pass gave: probabilities (n, side * side, tokens), a mean over heads."""

    maps: list[Tensor] = field(default_factory=list)

    def at_side(self, side: int) -> Tensor:
        """The mean over all layers of (n, tokens, side, side); layers of another size are brought to it."""
        return torch.stack([_to_side(layer, side) for layer in self.maps]).mean(dim=0)

    def clear(self) -> None:
        self.maps.clear()


@contextmanager
def cross_attention(unet: nn.Module, edit: EditScores | None = None) -> Iterator[AttentionMaps]:
    """Record every cross-attention inside the block, after editing its scores; the U-Net is as before afterwards.

    The maps add up over forward passes until they are cleared. Latents must be square.
    """
    recorded = AttentionMaps()
    layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
    before = [layer.processor for layer in layers]
    for layer in layers:
        layer.set_processor(_Recorder(recorded, edit))
    try:
        yield recorded
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


class _Recorder:
    """softmax(edit(Q K^T / sqrt(d))) V, with the probabilities kept."""

    def __init__(self, recorded: AttentionMaps, edit: EditScores | None) -> None:
        self._recorded, self._edit = recorded, edit

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        assert encoder_hidden_states is not None
        assert attention_mask is None
        query, key, value = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (
                attn.to_q(hidden_states),
                attn.to_k(encoder_hidden_states),
                attn.to_v(encoder_hidden_states),
            )
        )
        scores = (query @ key.transpose(-1, -2)).float() * attn.scale
        if self._edit:
            scores = self._edit(scores, round(scores.shape[2] ** 0.5))
        probabilities = scores.softmax(dim=-1)
        self._recorded.maps.append(probabilities.mean(dim=1))
        mixed = (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](mixed))


def _to_side(layer: Tensor, side: int) -> Tensor:
    own = round(layer.shape[1] ** 0.5)
    maps = layer.transpose(1, 2).unflatten(-1, (own, own))
    if own == side:
        return maps
    return functional.interpolate(maps, size=(side, side), mode="bilinear", antialias=own > side)
