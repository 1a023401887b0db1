"""AnomalyDiffusion's adaptive attention re-weighting (arXiv 2312.05767): more attention where an anomaly is faint.

In: the estimate of the finished latents, the clean image's latents and the cells of the mask m. Out: weights
w = |m| Softmax(1 / d), with d the squared difference of the two in each cell, and cross-attention scores
(Q K^T / sqrt(k)) * w of the anomaly's tokens.

What differs. The paper measures d on decoded images and puts 1 / d into the softmax as it is: in one unit a single cell
takes all the weight, in another all get the same. Here d is of latents, and 1 / d is taken in parts of its mean over
the mask. The published code takes the noisy latents for the estimate, drops the exponential and clamps w to [1, 1.5].
The clamp is kept: below 1 attention would be taken away from a fill that is not done yet. As published, w multiplies
the score, so that a token which a place does not look at (a score below 0) is looked at less.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.attention import EditScores

_LEAST_DIFFERENCE = 1e-2
"""Of the mean: a cell that equals the clean image has a weight, not an infinity."""


def attention_weights(estimate: Tensor, clean: Tensor, cells: Tensor, limit: float) -> Tensor:
    """(n, 1, h, w) between 1 and `limit`, 1 outside the mask.

    `estimate` and `clean` are latents (n, channels, h, w), `cells` (n, 1, h, w) of 0 and 1.
    """
    area = cells.sum(dim=(2, 3), keepdim=True)
    difference = (cells * (estimate - clean)).square().mean(dim=1, keepdim=True)
    faint = cells / (difference / _mean(difference, area)).clamp_min(_LEAST_DIFFERENCE)
    scores = (faint / _mean(faint, area)).masked_fill(cells == 0, -torch.inf)
    shares = scores.flatten(1).softmax(dim=1).view_as(scores).nan_to_num()
    return (area * shares).clamp(1, limit)


def _mean(values: Tensor, area: Tensor) -> Tensor:
    """Over the mask, outside of which the values are 0."""
    return (values.sum(dim=(2, 3), keepdim=True) / area.clamp_min(1)).clamp_min(1e-12)


def reweighted(weights: Tensor, token_count: int) -> EditScores:
    """The edit of cross-attention scores that multiplies those of the last `token_count` tokens by (n, 1, h, w)."""

    def edit(scores: Tensor, side: int) -> Tensor:
        at_layer = functional.adaptive_avg_pool2d(weights, side).flatten(2).unsqueeze(-1)
        others, anomaly = scores.split([scores.shape[-1] - token_count, token_count], dim=-1)
        return torch.cat([others, anomaly * at_layer.to(scores.dtype)], dim=-1)

    return edit
