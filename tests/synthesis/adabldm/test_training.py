"""The training: what it noises and weighs, that labels are dropped, and that an interruption leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from tasks.diffusion.denoiser import Condition, Denoiser, LabelTable
from tasks.diffusion.pool import DenoiserTrainer, Pool, weighted_error
from tasks.diffusion.schedule import training_schedule
from tasks.params import DenoiserParams
from tasks.synthesis.adabldm.denoiser import build_embedded, load_backbone
from tasks.training.loop import learning_rate_share, run_training
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

TABLE = LabelTable.of([("bolt", "bent")])
Seen = tuple[torch.Tensor, torch.Tensor, Condition]
"""What a denoiser was called with."""


@pytest.fixture
def pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    trimaps = torch.ones(8, 1, 64, 64, dtype=torch.uint8)
    trimaps[:, :, 16:40, 16:40] = 2
    latents = torch.randn(8, 8, 1, 1, generator=generator).expand(8, 8, 8, 8).half()
    return Pool(latents, trimaps, torch.arange(8) % 4)


def new_trainer(params: DenoiserParams, pool: Pool) -> DenoiserTrainer:
    return DenoiserTrainer(build_embedded(params, 8, 4, seed=1), training_schedule(), pool, params, seed=7)


def weights_of(trainer: DenoiserTrainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.trained])


def test_a_killed_run_ends_where_an_undisturbed_one_does(
    tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path
) -> None:
    undisturbed = new_trainer(tiny_denoiser_params, pool)
    run_training(undisturbed, tmp_path / "a", "x")
    killed = new_trainer(tiny_denoiser_params, pool)
    for _ in range(4):
        killed.advance()
    killed.save(tmp_path / "b", "x")
    killed.advance()  # lost with the process
    resumed = new_trainer(tiny_denoiser_params, pool)
    resumed.resume_from(tmp_path / "b", "x")
    assert resumed.step == 4
    run_training(resumed, tmp_path / "b", "x")
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))
    resumed.finish()
    undisturbed.finish()
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))


def test_a_checkpoint_of_other_params_is_not_taken(
    tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path
) -> None:
    trainer = new_trainer(tiny_denoiser_params, pool)
    trainer.advance()
    trainer.save(tmp_path / "checkpoint", "made from these")
    other = new_trainer(tiny_denoiser_params, pool)
    other.resume_from(tmp_path / "checkpoint", "made from those")
    assert other.step == 0


def test_checkpoints_that_take_long_are_written_seldom(
    tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock of the test's: a step takes a second, a checkpoint three, and a twentieth of the time is theirs."""
    clock, saved = [0.0], []
    monkeypatch.setattr("tasks.training.loop.time.monotonic", lambda: clock[0])
    params = tiny_denoiser_params.model_copy(update={"steps": 200, "checkpoint_every": 2})
    trainer = new_trainer(params, pool)

    def advance(batch: object) -> torch.Tensor:
        clock[0] += 1
        trainer.step += 1
        return torch.zeros(())

    def save(path: Path, made_from: str) -> None:
        clock[0] += 3
        saved.append(trainer.step)

    monkeypatch.setattr(trainer, "advance", advance)
    monkeypatch.setattr(trainer, "draw", lambda step: torch.zeros(()))
    monkeypatch.setattr(trainer, "save", save)
    run_training(trainer, tmp_path / "checkpoint", "x")
    assert saved == [2, 62, 122, 182]


def test_a_damaged_checkpoint_is_not_taken(tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path) -> None:
    trainer = new_trainer(tiny_denoiser_params, pool)
    trainer.advance()
    trainer.save(tmp_path / "checkpoint", "x")
    whole = (tmp_path / "checkpoint").read_bytes()
    for length in (0, 4, len(whole) // 2):
        (tmp_path / "checkpoint").write_bytes(whole[:length])
        other = new_trainer(tiny_denoiser_params, pool)
        other.resume_from(tmp_path / "checkpoint", "x")
        assert other.step == 0


def test_training_learns(tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path) -> None:
    trainer = new_trainer(tiny_denoiser_params.model_copy(update={"steps": 120, "learning_rate": 3e-3}), pool)
    losses = run_training(trainer, tmp_path / "checkpoint", "x")
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_the_loss_weighs_the_defect_alike_whatever_its_area() -> None:
    target = torch.zeros(1, 2, 8, 8)
    small, large = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    small[..., :1, :1], large[..., :6, :6] = 1, 1
    assert torch.isclose(weighted_error(torch.ones(1, 2, 8, 8), target, small, 10.0), torch.tensor(1.0))
    wrong_inside, wrong_outside = small.expand(1, 2, 8, 8), (1 - small).expand(1, 2, 8, 8)
    inside = weighted_error(wrong_inside, target, small, 10.0)
    outside = weighted_error(wrong_outside, target, small, 10.0)
    assert torch.isclose(inside / outside, torch.tensor(10.0 / 63))
    assert weighted_error(wrong_inside, target, small, 10.0) > weighted_error(wrong_inside, target, small, 1.0)


def seen_in_training(denoiser: Denoiser, trainer: DenoiserTrainer, steps: int) -> list[Seen]:
    seen: list[Seen] = []

    def remember(module: nn.Module, arguments: Seen) -> None:
        seen.append(arguments)

    with denoiser.register_forward_pre_hook(remember):
        for step in range(steps):
            trainer.loss(trainer.draw(step))
    return seen


def test_a_pretrained_backbone_is_trained_on_its_own_noise_schedule(tmp_path: Path) -> None:
    """All latents are 4: the mean of what the denoiser is shown is 4 sqrt(alpha_bar), by which schedule it is seen."""
    folder = save_tiny_pipeline(tmp_path)
    denoiser, schedule = load_backbone(str(folder), TABLE, "a {category} with a {defect_type}", seed=0)
    params = DenoiserParams(kind="pretrained", path=str(folder), batch_size=16)
    trimaps = torch.ones(4, 1, 256, 256, dtype=torch.uint8)
    pool = Pool(torch.full((4, 4, 32, 32), 4.0).half(), trimaps, torch.zeros(4).long())
    trainer = DenoiserTrainer(denoiser, schedule, pool, params, seed=7)
    ((noisy, timesteps, _),) = seen_in_training(denoiser, trainer, 1)
    own = DDIMScheduler.from_pretrained(folder, subfolder="scheduler").alphas_cumprod[timesteps].sqrt()
    embedded = training_schedule().alphas_cumprod[timesteps].sqrt()
    found = noisy.mean(dim=(1, 2, 3)) / 4
    assert torch.allclose(found, own, atol=0.02)
    assert (found - embedded).abs().max() > 0.1
    spread = noisy.std(dim=(1, 2, 3))
    assert torch.allclose(spread, (1 - own.square()).sqrt(), atol=0.05)


def test_of_a_pretrained_backbone_the_controlnet_alone_is_trained_and_drawn_from_the_seed(tmp_path: Path) -> None:
    folder = str(save_tiny_pipeline(tmp_path))
    first, again, other = (load_backbone(folder, TABLE, "a {category}", seed)[0] for seed in (1, 1, 2))
    trained = {name for name, parameter in first.named_parameters() if parameter.requires_grad}
    assert trained
    assert {name.split(".")[0] for name in trained} == {"controlnet"}
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert not all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_a_tenth_of_the_labels_is_dropped(tiny_denoiser_params: DenoiserParams, pool: Pool) -> None:
    trainer = new_trainer(tiny_denoiser_params.model_copy(update={"batch_size": 64}), pool)
    seen = seen_in_training(trainer.denoiser, trainer, 8)
    labels = torch.cat([condition.labels for _, _, condition in seen])
    assert 0.07 < (labels == trainer.denoiser.empty_label).float().mean() < 0.13
    assert set(labels.tolist()) == {0, 1, 2, 3, trainer.denoiser.empty_label}


def test_learning_rate_warms_up_and_decays() -> None:
    shares = [learning_rate_share(step, 1000) for step in range(1000)]
    assert shares[0] < 0.05
    assert max(shares) == shares[50] == 1.0
    assert shares[-1] < 0.06
