"""DefectFill's loss: each term's equation, and that training moves the tokens' attention onto the mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.attention import AttentionMaps
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import cells_of
from tasks.diffusion.pool import Pool, masked_error
from tasks.diffusion.schedule import training_schedule, training_target
from tasks.diffusion.text_backbone import Hole, new_backbone
from tasks.params import BackboneParams
from tasks.params.systems import LowRankTraining
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone
from tasks.synthesis.inpaint_lora.training import DefectFillTrainer, attention_error, random_boxes

TABLE = LabelTable.of([("plate", "clean"), ("plate", "spot")])
CLEAN, SPOT = 0, 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pool() -> Pool:
    """Noise, with a spot of another level at a place of its own in every second image."""
    latents, trimaps = torch.randn(8, 4, 8, 8, generator=seeded()) * 0.3, torch.ones(8, 1, 64, 64, dtype=torch.uint8)
    for number in range(8):
        top, left = 2 + number % 3, 1 + number % 4
        trimaps[number, :, 8 * top : 8 * top + 16, 8 * left : 8 * left + 24] = 2
        if number % 2:
            latents[number, :, top : top + 2, left : left + 3] += 2
    return Pool(latents.half(), trimaps, torch.arange(8) % 2)


class Cells:
    """A codec in all that matters here."""

    def encode(self, images: Tensor) -> Tensor:
        return functional.avg_pool2d(images.mean(dim=1, keepdim=True), 8).repeat(1, 4, 1, 1)


def trainer_of(params: LowRankTraining, pool: Pool) -> DefectFillTrainer:
    backbone, schedule = new_backbone(BackboneParams(channels=[32, 64]), 4, TABLE, seed=3)
    network = LowRankBackbone(backbone, TABLE, params.rank, params.convolutions, seed=0)
    images = torch.randint(256, (8, 3, 64, 64), generator=seeded(), dtype=torch.uint8)
    defective = torch.tensor([False, True])
    return DefectFillTrainer(network, schedule, Cells(), pool, images, params, defective, seed=0)  # type: ignore


def test_the_masked_error_has_no_gradient_outside_and_counts_small_defects_as_much() -> None:
    prediction = torch.randn(2, 4, 8, 8, generator=seeded()).requires_grad_()
    target, cells = torch.zeros(2, 4, 8, 8), torch.zeros(2, 1, 8, 8)
    cells[0, :, 2:4, 2:5] = 1
    cells[1, :, 1:7, 1:7] = 1
    masked_error(prediction, target, cells).backward()
    assert prediction.grad is not None
    assert not prediction.grad[(cells == 0).expand_as(prediction)].any()
    assert prediction.grad[(cells == 1).expand_as(prediction)].all()
    constant = torch.full((1, 4, 8, 8), 3.0)
    for one in cells.split(1):
        assert masked_error(constant, torch.zeros_like(constant), one).item() == pytest.approx(9.0)


def test_the_objects_surroundings_weigh_alpha_squared(pool: Pool) -> None:
    """L_obj is the norm of W e with W = M + alpha (1 - M): an error outside counts alpha^2 of one inside."""
    params = LowRankTraining(outside_share=0.3, batch_size=2, defect_weight=0, attention_weight=0)
    trainer = trainer_of(params, pool)
    batch = trainer.draw(0)
    cells, latents = cells_of(batch.masks), batch.latents.float().repeat(2, 1, 1, 1)
    target = training_target(trainer.schedule, latents, batch.noise, batch.timesteps)

    def object_error(where: Tensor) -> float:
        wrong = target + where.repeat(2, 1, 1, 1)
        with pytest.MonkeyPatch.context() as patch:
            predict = trainer.model.predict
            patch.setattr(trainer.model, "predict", lambda *given: wrong + 0 * predict(*given))
            return trainer.terms(batch).object.item()

    inside, outside = (object_error(where) for where in (cells, 1 - cells))
    shares = [cells[n].mean().item() for n in range(2)]
    expected = [0.09 * (1 - share) / (share + 0.09 * (1 - share)) for share in shares]
    assert outside == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert inside == pytest.approx(1 - outside, rel=1e-4)


def test_the_attention_error_is_the_distance_of_the_last_tokens_map_to_the_mask() -> None:
    masks = torch.zeros(2, 1, 64, 64)
    masks[:, :, :32] = 1
    perfect = torch.zeros(2, 16, 3)
    perfect[:, :8, -1] = 1
    assert attention_error(AttentionMaps([perfect]), masks, torch.tensor([True, True])).item() == 0
    even = torch.full((2, 16, 3), 0.5)
    assert attention_error(AttentionMaps([even]), masks, torch.tensor([True, True])).item() == pytest.approx(0.25)
    mixed = torch.cat([perfect[:1], even[:1]])
    assert attention_error(AttentionMaps([mixed]), masks, torch.tensor([True, False])).item() == 0
    assert attention_error(AttentionMaps([even]), masks, torch.tensor([False, False])).item() == 0
    maps = AttentionMaps([even.clone().requires_grad_(), torch.full((2, 4, 3), 0.5)])
    attention_error(maps, masks, torch.tensor([True, True])).backward()
    assert maps.maps[0].grad is not None
    assert not maps.maps[0].grad[..., :-1].any()


def test_boxes_are_of_the_papers_sizes_and_vary() -> None:
    boxes = random_boxes(6, 64, seeded())
    assert boxes.shape == (6, 1, 64, 64)
    assert set(boxes.unique().tolist()) == {0.0, 1.0}
    shares = boxes.mean(dim=(1, 2, 3))
    assert (shares > 0.15).all()
    assert (shares < 0.8).all()
    assert len(shares.unique()) > 3
    assert torch.equal(boxes, random_boxes(6, 64, seeded()))


def test_each_image_is_seen_with_its_mask_and_with_boxes_as_the_hole(pool: Pool) -> None:
    trainer, seen = trainer_of(LowRankTraining(batch_size=2), pool), []
    batch, predict = trainer.draw(0), trainer.model.predict

    def remember(noisy: Tensor, timesteps: Tensor, labels: Tensor, hole: Hole, disturbance: Tensor) -> Tensor:
        seen.append(hole)
        return predict(noisy, timesteps, labels, hole, disturbance)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.model, "predict", remember)
        trainer.terms(batch)
    holes = torch.cat([batch.masks, batch.boxes])
    images = (batch.images.float() / 127.5 - 1).repeat(2, 1, 1, 1)
    assert torch.equal(seen[0].mask, holes)
    assert torch.equal(seen[0].surroundings, Cells().encode(images * (1 - holes)))


def test_training_moves_attention_onto_the_mask_and_nothing_but_adapters_and_tokens(pool: Pool) -> None:
    params = LowRankTraining(
        rank=4, steps=16, batch_size=4, learning_rate=2e-2, ema_decay=0.5, attention_weight=1.0, prompt_noise=0.1
    )
    trainer = trainer_of(params, pool)
    untrained = {name: t.clone() for name, t in trainer.model.state_dict().items()}
    batch = trainer.draw(7)
    first = trainer.terms(batch)
    for _ in range(params.steps):
        trainer.advance()
    last = trainer.terms(batch)
    assert last.attention < 0.5 * first.attention
    assert last.defect < first.defect
    moved = {n for n, t in trainer.model.state_dict().items() if not torch.equal(t, untrained[n])}
    assert moved
    assert moved <= trainer.model.trained_state().keys()


def test_steps_are_reproducible_and_go_on_from_a_checkpoint(pool: Pool, tmp_path: Path) -> None:
    params = LowRankTraining(rank=2, steps=4, batch_size=2)
    whole, first, second = (trainer_of(params, pool) for _ in range(3))
    losses = [whole.advance().item() for _ in range(4)]
    assert np.isfinite(losses).all()
    assert [first.advance().item() for _ in range(2)] == losses[:2]
    first.save(tmp_path / "checkpoint", "this")
    second.resume_from(tmp_path / "checkpoint", "this")
    assert [second.advance().item() for _ in range(2)] == losses[2:]
    for trainer in (whole, second):
        trainer.finish()
    states = [trainer.model.trained_state() for trainer in (whole, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_weights_are_those_of_the_params(pool: Pool) -> None:
    def loss(**weights: float) -> Tensor:
        params = LowRankTraining.model_validate({"rank": 2, "batch_size": 4, **weights})
        trainer = trainer_of(params, pool)
        return trainer.loss(trainer.draw(1))

    trainer = trainer_of(LowRankTraining(rank=2, batch_size=4), pool)
    terms = trainer.terms(trainer.draw(1))
    expected = 0.5 * terms.defect + 0.2 * terms.object + 0.05 * terms.attention
    assert loss().item() == pytest.approx(expected.item(), rel=1e-6)
    only = loss(defect_weight=0.0, object_weight=0.0, attention_weight=2.0)
    assert only.item() == pytest.approx(2 * terms.attention.item(), rel=1e-6)


def test_the_target_is_that_of_the_backbones_schedule(pool: Pool) -> None:
    by_noise = training_schedule({**training_schedule().config, "prediction_type": "epsilon"})
    trainer = trainer_of(LowRankTraining(rank=2, batch_size=4), pool)
    batch = trainer.draw(1)
    of_v = trainer.terms(batch).defect
    trainer.schedule = by_noise
    assert trainer.terms(batch).defect != of_v
