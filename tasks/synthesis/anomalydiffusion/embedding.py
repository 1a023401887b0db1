"""AnomalyDiffusion's spatial anomaly embedding (Hu et al., AAAI 2024, arXiv 2312.05767): looks and place of a defect.

In: labels and masks. Out: tokens e = [e_a; e_s] for the cross-attentions of a frozen backbone, behind those of the
clean prompt. e_a are learned vectors of each category and defect type, e_s what an encoder reads from the mask.

The paper puts e through the text encoder, in place of a word of the prompt; here e enters the cross-attentions
directly, so that one code serves every backbone. The paper's encoder is a ResNet-50 with a feature pyramid; ours has
the same parts with one block a level, since it has a handful of masks to learn from.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork

from tasks.contracts import CLEAN
from tasks.diffusion.codec import Codec
from tasks.diffusion.denoiser import Condition, Denoiser, LabelTable
from tasks.diffusion.text_backbone import Hole, TextBackbone
from tasks.training.closeup import CELL

_LEVELS = (32, 64, 96, 128)
"""Channels of the pyramid's levels; every level gives one of the paper's four spatial tokens."""
_PYRAMID_WIDTH = 64
_GRID = 4
"""A level is read on so many places a side: with no grid, where the mask is would be averaged away."""


class MaskEncoder(nn.Module):
    """E_s: masks (n, 1, height, width) of 0 and 1 to (n, 4, width), exactly 0 before training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        deeper = (_level(*pair, stride=2) for pair in pairwise(_LEVELS))
        self.levels = nn.ModuleList([_level(CELL * CELL, _LEVELS[0], stride=1), *deeper])
        self.pyramid = FeaturePyramidNetwork(list(_LEVELS), _PYRAMID_WIDTH)
        self.heads = nn.ModuleList(nn.Linear(_PYRAMID_WIDTH * _GRID**2, width) for _ in _LEVELS)
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def forward(self, masks: Tensor) -> Tensor:
        features, level = {}, functional.pixel_unshuffle(masks, CELL)
        for number, block in enumerate(self.levels):
            features[str(number)] = level = block(level)
        levels = self.pyramid(features).values()
        read = [functional.adaptive_avg_pool2d(level, _GRID).flatten(1) for level in levels]
        return torch.stack([head(values) for head, values in zip(self.heads, read, strict=True)], dim=1)


def _level(before: int, channels: int, stride: int) -> BasicBlock:
    normalise = partial(nn.GroupNorm, 8)
    shortcut = nn.Sequential(nn.Conv2d(before, channels, 1, stride), normalise(channels))
    return BasicBlock(before, channels, stride, shortcut, norm_layer=normalise)


class AnomalyEmbedding(nn.Module):
    """e for labels and masks; before training it says what the defect types' words say, and nothing of the mask."""

    silent: Tensor

    def __init__(self, appearance: Tensor, silent: Tensor) -> None:
        """`appearance`: e_a to start from, (labels, tokens, width). `silent`: a token that says nothing, (width,)."""
        super().__init__()
        self.appearance = nn.Parameter(appearance.clone())
        self.spatial = MaskEncoder(len(silent))
        self.register_buffer("silent", silent.clone())

    def forward(self, labels: Tensor, masks: Tensor) -> Tensor:
        """[e_a; e_s]: (n, tokens, width) for labels (n,) and masks (n, 1, height, width)."""
        return torch.cat([self.appearance[labels], self.silent + self.spatial(masks)], dim=1)

    def no_anomaly(self, count: int) -> Tensor:
        """As many tokens, which say nothing."""
        return self.silent.expand(count, self.count, -1)

    @property
    def count(self) -> int:
        """Of the tokens of one image."""
        return self.appearance.shape[1] + len(_LEVELS)


class AnomalyDenoiser(Denoiser):
    """A frozen backbone that is told [clean prompt; e_a; e_s]; what is trained is the embedding."""

    prompts: Tensor

    def __init__(self, backbone: TextBackbone, table: LabelTable, appearance_tokens: int, inpaint: bool) -> None:
        """`inpaint`: whether the backbone is given the surroundings, where it was made for that."""
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.empty_label = backbone.empty_label
        self.inpaint = inpaint
        self.embedding = AnomalyEmbedding(
            word_tokens(backbone, table, appearance_tokens), backbone.tokens_of([""])[0, -1].detach()
        )
        cleans = [backbone.prompts[table.index(category, CLEAN)] for category, _ in table.pairs]
        self.register_buffer("prompts", backbone.tokens_of(cleans).detach(), persistent=False)

    def tokens(self, labels: Tensor, masks: Tensor) -> Tensor:
        """(n, tokens, width) of the defect; the anomaly's are the last ones."""
        return torch.cat([self.prompts[labels], self.embedding(labels, masks)], dim=1)

    def clean_tokens(self, labels: Tensor) -> Tensor:
        """As many, of the same categories without a defect."""
        return torch.cat([self.prompts[labels], self.embedding.no_anomaly(len(labels))], dim=1)

    def hole_pixels(self, masks: Tensor) -> Tensor | None:
        """Without `inpaint` nothing is given: the hole is the whole image."""
        return self.backbone.hole_pixels(masks if self.inpaint else torch.ones_like(masks))

    def hole_in(self, codec: Codec, images: Tensor, masks: Tensor) -> Hole | None:
        return self.backbone.hole_in(codec, images, masks if self.inpaint else torch.ones_like(masks))

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        masks = (condition.trimap == 1).to(noisy.dtype)
        pixels = self.hole_pixels(masks)
        hole = None if pixels is None else Hole(pixels, condition.surroundings)
        return self.backbone.predict(noisy, timesteps, self.tokens(condition.labels, masks), hole)

    def trained_state(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith("embedding.")}


def word_tokens(backbone: TextBackbone, table: LabelTable, count: int) -> Tensor:
    """Tokens (labels, count, width) that say each label's defect type, its words over and over.

    Rows of clean labels are there to keep the numbering; nothing reads them.
    """
    rows = []
    for label, (_, defect_type) in enumerate(table.pairs):
        prompt = backbone.prompts[label]
        tokens = backbone.tokens_of([prompt])[0].detach()
        place = backbone.place_of(prompt, defect_type.replace("_", " ")) or range(len(tokens))
        rows.append(tokens[[place[number % len(place)] for number in range(count)]])
    return torch.stack(rows)
