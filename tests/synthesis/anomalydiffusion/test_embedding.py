"""The spatial anomaly embedding: what it says before training, and what its masked loss teaches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tasks.diffusion.codec import load_codec
from tasks.diffusion.denoiser import Condition, LabelTable
from tasks.diffusion.pool import Pool, masked_error
from tasks.diffusion.text_backbone import new_backbone
from tasks.params import BackboneParams, CodecParams, TrainingParams
from tasks.synthesis.anomalydiffusion.embedding import AnomalyDenoiser, MaskEncoder, word_tokens
from tasks.synthesis.anomalydiffusion.training import EmbeddingTrainer
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

TABLE = LabelTable.of([("bolt", "rust"), ("bolt", "bent_tip")])
RUST, BENT = TABLE.index("bolt", "rust"), TABLE.index("bolt", "bent_tip")


@pytest.fixture(params=["embedded", "pretrained"])
def denoiser(request: pytest.FixtureRequest, tmp_path: Path) -> AnomalyDenoiser:
    params = BackboneParams(channels=[32, 64], prompt="a {category} {defect_type}")
    if request.param == "pretrained":
        params = params.model_copy(update={"kind": "pretrained", "path": str(save_tiny_pipeline(tmp_path))})
    backbone, _ = new_backbone(params, 4, TABLE, seed=1)
    torch.manual_seed(2)
    return AnomalyDenoiser(backbone, TABLE, appearance_tokens=5, inpaint=True)


def masks_at(*corners: int) -> Tensor:
    masks = torch.zeros(len(corners), 1, 64, 64)
    for mask, corner in zip(masks, corners, strict=True):
        mask[:, corner : corner + 16, corner : corner + 16] = 1
    return masks


def test_outside_the_mask_the_losss_gradient_is_exactly_zero() -> None:
    prediction, target = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    prediction.requires_grad_(True)
    cells = torch.zeros(2, 1, 8, 8)
    cells[0, :, 1:3, 1:3] = cells[1, :, 2:8, 2:8] = 1
    masked_error(prediction, target, cells).backward()
    assert prediction.grad is not None
    outside = (cells == 0).expand_as(prediction)
    assert torch.equal(prediction.grad[outside], torch.zeros_like(prediction.grad[outside]))
    assert (prediction.grad[~outside] != 0).all()


def test_a_small_defect_counts_as_much_as_a_large_one() -> None:
    target = torch.zeros(1, 4, 8, 8)
    small, large = torch.zeros(2, 1, 1, 8, 8)
    small[..., 3, 3] = 1
    large[..., 1:7, 1:7] = 1
    assert masked_error(target + 2, target, small) == masked_error(target + 2, target, large) == 4


def test_an_untrained_mask_encoder_says_nothing_and_a_trained_one_where_the_mask_is() -> None:
    torch.manual_seed(0)
    encoder = MaskEncoder(16)
    assert torch.equal(encoder(masks_at(0, 40)), torch.zeros(2, 4, 16))
    for parameter in encoder.heads.parameters():
        nn.init.normal_(parameter)
    here, there, none = encoder(torch.cat([masks_at(0, 40), torch.zeros(1, 1, 64, 64)]))
    assert all((a - b).abs().mean() > 1e-3 for a, b in [(here, there), (here, none), (there, none)])


def test_before_training_the_embedding_says_the_defects_words(denoiser: AnomalyDenoiser) -> None:
    backbone = denoiser.backbone
    prompt = "a bolt bent tip"
    place = backbone.place_of(prompt, "bent tip")
    words = backbone.tokens_of([prompt])[0, place]
    appearance = word_tokens(backbone, TABLE, 5)[BENT]
    assert torch.allclose(appearance, words[[number % len(place) for number in range(5)]], atol=1e-4)
    tokens = denoiser.tokens(torch.tensor([BENT]), masks_at(8))[0]
    clean = denoiser.clean_tokens(torch.tensor([BENT]))[0]
    assert torch.equal(tokens[-9:-4], appearance)
    assert torch.allclose(tokens[:-9], backbone.tokens_of(["a bolt"])[0], atol=1e-4)
    assert not torch.allclose(words[0], words[-1], atol=1e-2)
    assert torch.equal(clean[:-9], tokens[:-9])
    assert torch.equal(clean[-9:-4], clean[-4:][:1].expand(5, -1))
    assert torch.equal(clean[-4:], tokens[-4:])


def trainer_of(denoiser: AnomalyDenoiser, pool: Pool) -> EmbeddingTrainer:
    training = TrainingParams(steps=4, batch_size=2, learning_rate=1e-2, label_dropout=0.0)
    _, schedule = new_backbone(BackboneParams(channels=[32, 64]), 4, TABLE, seed=1)
    return EmbeddingTrainer(denoiser, schedule, pool, training, seed=3)


def test_training_moves_the_embedding_of_what_it_is_shown_and_nothing_else(denoiser: AnomalyDenoiser) -> None:
    before = {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}
    levels = torch.ones(2, 1, 64, 64, dtype=torch.uint8)
    levels[masks_at(8, 24) == 1] = 2
    pool = Pool(torch.randn(2, 4, 8, 8).half(), levels, torch.tensor([RUST, RUST]))
    trainer = trainer_of(denoiser, pool)
    for _ in range(4):
        trainer.advance()
    changed = {name for name, tensor in denoiser.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert changed <= {f"embedding.{name}" for name, _ in denoiser.embedding.named_parameters()}
    assert {name.split(".")[0] for name in denoiser.trained_state()} == {"embedding"}
    moved = (denoiser.embedding.appearance - before["embedding.appearance"]).abs().amax(dim=(1, 2))
    assert moved[RUST] > 10 * moved[BENT]


def test_told_the_hole_only_where_the_backbone_takes_one(denoiser: AnomalyDenoiser) -> None:
    noisy, timesteps, labels = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.tensor([RUST])

    @torch.no_grad()
    def heard(surroundings: float) -> Tensor:
        condition = Condition(masks_at(8).clamp_min(0.5), torch.full((1, 4, 8, 8), surroundings), labels)
        return denoiser.eval()(noisy, timesteps, condition)

    assert torch.equal(heard(0.0), heard(1.0)) is not denoiser.backbone.takes_holes


def test_without_inpainting_nothing_of_the_image_is_given(denoiser: AnomalyDenoiser) -> None:
    denoiser.inpaint = False
    codec, images = load_codec(CodecParams()), torch.rand(2, 3, 64, 64) * 2 - 1
    first, second = (denoiser.hole_in(codec, each, masks_at(8)) for each in images.split(1))
    assert (first is None) is not denoiser.backbone.takes_holes
    if first is not None and second is not None:
        assert first.mask.all()
        assert torch.equal(first.surroundings, second.surroundings)
