"""The map of the anomaly's words, the loss on it, the location-aware step and the descent that uses them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.contracts import DefectoryError
from tasks.diffusion.text_backbone import EmbeddedBackbone
from tasks.synthesis.anomalyany.attention_guidance import (
    Words,
    anomaly_map,
    attention_label,
    attention_loss,
    descend,
    focus_of,
    step_size,
    words_in,
)

SHARPNESS = 10.0


def words() -> Words:
    """Of six tokens the first and the last two are no words; the anomaly has the third and the fourth."""
    spoken = torch.tensor([[False, True, True, True, False, False]])
    return Words(spoken, torch.tensor([[False, False, True, True, False, False]]))


def some_maps(seed: int = 0) -> Tensor:
    return torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


def test_the_anomalys_map_is_its_share_of_the_words_alone() -> None:
    flat = torch.tensor([0.5, 0.1, 0.2, 0.15, 0.03, 0.02]).view(1, 6, 1, 1).expand(1, 6, 8, 8)
    weights = np.exp(SHARPNESS * np.array([0.1, 0.2, 0.15]))
    assert torch.allclose(
        anomaly_map(flat, words(), SHARPNESS), torch.tensor(weights[1:].sum() / weights.sum()).float()
    )
    changed = some_maps()
    changed[:, [0, 4, 5]] = 0.9
    assert torch.equal(anomaly_map(changed, words(), SHARPNESS), anomaly_map(some_maps(), words(), SHARPNESS))


def test_the_loss_sees_the_mask_alone_and_its_best_place() -> None:
    map_ = torch.zeros(2, 8, 8)
    map_[0, 2, 3], map_[0, 7, 7], map_[1, 7, 7] = 0.6, 0.9, 0.9
    masks = torch.zeros(2, 1, 64, 64)
    masks[:, :, 18, 26] = 1  # one pixel is enough for its place
    assert torch.allclose(attention_loss(map_, masks), torch.tensor([0.4, 1.0]))


def test_the_step_falls_with_time_and_with_the_area_that_attends() -> None:
    wide, narrow = torch.full((1, 8, 8), 0.1), torch.full((1, 8, 8), 0.1)
    wide[0, :4], narrow[0, 0, 0] = 0.5, 0.5
    assert focus_of(wide).item() == 32
    assert focus_of(narrow).item() == 1
    alpha = step_size(10.0, 1.0, torch.tensor([0.5, 0.0]), torch.tensor([32.0, 8.0]), torch.tensor([32.0, 32.0]))
    assert alpha.tolist() == [15.0, 2.5]


@pytest.mark.parametrize("rate", [0.1, 0.9, 40.0, 1e6])
def test_a_descent_leaves_no_image_worse_off_and_what_is_masked_alone(rate: float) -> None:
    start = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(3, 1, 4, 4)
    mask[..., :2] = 1

    def loss(latents: Tensor) -> Tensor:
        return (latents - 1).square().sum(dim=(1, 2, 3)) + 0.1 * torch.sin(30 * latents).sum(dim=(1, 2, 3))

    ended = descend(start, loss, rate * mask, 5)
    assert (loss(ended) <= loss(start)).all()
    assert rate > 1e3 or (loss(ended) < loss(start)).all()
    assert torch.equal(ended[..., 2:], start[..., 2:])
    assert torch.equal(descend(start[:1], loss, rate * mask[:1], 5), ended[:1])


def test_a_label_is_where_the_map_is_high() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    map_ = 0.2 + 0.3 * torch.exp(-((rows - 4).square() + (columns - 10).square()) / 8).unsqueeze(0)
    map_[0, 12, 3] = 0.31
    (low,), (high,) = attention_label(map_, (64, 64), 0.3), attention_label(map_, (64, 64), 0.7)
    assert low.shape == (64, 64)
    assert low.dtype == bool
    assert high[18, 42]
    assert (low | high).sum() == low.sum() > high.sum() > 0
    assert not low[40:].any()
    assert not low[:, :24].any()


def test_words_that_a_backbone_does_not_know_are_named() -> None:
    backbone = EmbeddedBackbone(8, [32, 64], ["a plate with large spot", "a plate"])
    found = words_in(backbone, ["a plate with large spot", "a plate with spot"], ["large spot", "spot"])
    assert found.spoken.sum(dim=1).tolist() == [5, 4]
    assert found.anomaly.nonzero().tolist() == [[0, 4], [0, 5], [1, 4]]
    with pytest.raises(DefectoryError, match="does not know 'hole' in its prompt 'a plate with hole'"):
        words_in(backbone, ["a plate with hole"], ["hole"])
