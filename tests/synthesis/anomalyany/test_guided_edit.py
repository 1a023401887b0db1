"""AnomalyAny's guided chain on tiny models of both kinds: what it keeps at every step, and what each guidance does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.codec import Codec, load_codec
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import cells_of
from tasks.diffusion.schedule import training_schedule
from tasks.diffusion.text_backbone import Hole, new_backbone
from tasks.params import BackboneParams, CodecParams
from tasks.params.systems import AnomalyAnyParams
from tasks.synthesis.anomalyany.attention_guidance import attention_loss, focus_of, words_in
from tasks.synthesis.anomalyany.guided_edit import GuidedEditRequest, GuidedPainter, towards, turned
from tasks.synthesis.anomalyany.normal_conditioning import Chain, at_level
from tasks.synthesis.anomalyany.text_image import EmbeddedTextImage, PretrainedTextImage, TextImage
from tests.synthesis.anomalyany.tiny_clip import save_tiny_clip

PROMPT, CLEAN_PROMPT, DETAILED = "a nut rust", "a nut", "a nut red rust"
PARAMS = AnomalyAnyParams(steps=3, refined_share=0.4, attention_side=4, attention_updates=3, guidance=2.0)
SIDE = 64


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


class Models:
    """A backbone, its schedule, a codec and a text-image model that belong together."""

    def __init__(self, folder: Path | None) -> None:
        table = LabelTable.of([("nut", "rust"), ("nut", "red_rust")])
        params = BackboneParams(channels=[32, 64], prompt="a {category} {defect_type}")
        if folder:
            pipeline = folder / "pipeline"
            params = params.model_copy(update={"kind": "pretrained", "path": str(pipeline)})
            self.codec: Codec = load_codec(CodecParams(kind="pretrained", path=str(pipeline / "vae")))
            self.text_image: TextImage = PretrainedTextImage(str(folder))
        else:
            # Of an untrained codec the images would hardly change with the latents.
            self.codec = load_codec(CodecParams())
            torch.manual_seed(6)
            self.text_image = EmbeddedTextImage([PROMPT, CLEAN_PROMPT, DETAILED])
        self.backbone, self.schedule = new_backbone(params, self.codec.latent_channels, table, seed=1)
        self.backbone.requires_grad_(False).eval()
        self.text_image.requires_grad_(False).eval()

    def painter(self, **changed: float) -> GuidedPainter:
        return GuidedPainter(self.backbone, self.codec, self.text_image, PARAMS.model_copy(update=changed))

    @torch.no_grad()
    def edit(self, count: int = 2, empty: bool = False, strength: float = 0.7, seed: int = 5) -> GuidedEditRequest:
        generator = torch.Generator().manual_seed(seed)
        masks = torch.zeros(count, 1, SIDE, SIDE)
        if not empty:
            masks[:, :, 18:38, 22:44] = 1
        clean = self.codec.encode(torch.rand(count, 3, SIDE, SIDE, generator=generator) * 2 - 1)
        noise = torch.randn(clean.shape, generator=generator)
        strengths = torch.full((count,), strength)
        chain = Chain(self.schedule, clean, cells_of(masks, 0), noise, strengths, PARAMS.steps)
        return GuidedEditRequest(
            chain=chain,
            masks=masks,
            hole=Hole(masks, clean * (1 - chain.cells)) if self.backbone.takes_holes else None,
            words=words_in(self.backbone, [PROMPT] * count, ["rust"] * count),
            tokens=self.backbone.tokens_of([PROMPT] * count),
            clean_tokens=self.backbone.tokens_of([CLEAN_PROMPT] * count),
            rival_tokens=self.backbone.tokens_of([CLEAN_PROMPT] * count),
            detailed_tokens=self.backbone.tokens_of([DETAILED] * count),
            described=self.text_image.of_texts([DETAILED] * count),
        )


@pytest.fixture(scope="module", params=["embedded", "pretrained"])
def models(request: pytest.FixtureRequest, clip_folder: Path) -> Models:
    return Models(clip_folder if request.param == "pretrained" else None)


def test_without_a_mask_and_guidance_the_image_is_what_the_codec_makes_of_it(models: Models) -> None:
    edit = models.edit(empty=True)
    *_, last = models.painter(attention_rate=0.0, refinement_rate=0.0).steps(edit)
    with torch.no_grad():
        change = models.codec.decode(last) - models.codec.decode(edit.chain.clean)
    assert change.abs().max() * 127.5 <= 1


def test_outside_the_mask_every_step_is_the_noised_clean_image(models: Models) -> None:
    edit = models.edit()
    outside = (edit.chain.cells == 0).expand_as(edit.chain.clean)
    after = list(models.painter().steps(edit))
    assert len(after) == PARAMS.steps
    for step, latents in enumerate(after):
        then = edit.chain.timesteps(step + 1)
        expected = at_level(models.schedule, edit.chain.clean, edit.chain.noise, then)
        assert torch.equal(latents[outside], expected[outside])
        assert not torch.equal(latents, expected)
    assert torch.equal(after[-1][outside], edit.chain.clean[outside])


def test_attention_to_the_anomaly_rises_and_no_step_is_the_worse_for_it(models: Models) -> None:
    edit, painter = models.edit(), models.painter(refinement_rate=0.0, attention_rate=1000.0, attention_updates=8)
    before, rises = edit.chain.start(), []
    with torch.no_grad():
        first_focus = focus_of(painter.attention(edit, before, edit.tokens, 0))
        for step, after in enumerate(painter.steps(edit)):
            optimised = painter.attend(edit, before, edit.tokens, step, first_focus)
            maps = [painter.attention(edit, latents, edit.tokens, step) for latents in (before, optimised)]
            high, low = (attention_loss(map_, edit.masks) for map_ in maps)
            rises.append(high - low)
            assert torch.equal(optimised * (1 - edit.chain.cells), before * (1 - edit.chain.cells))
            before = after
    assert rises[0].min() > 0.004  # seen: 0.01 at the least
    assert torch.stack(rises).min() > -1e-4


def test_refinement_brings_the_image_nearer_to_its_description(models: Models) -> None:
    """The cosine of each place, which is in [-1, 1], rises by far more than half precision moves it."""

    def fit(rate: float) -> Tensor:
        changed = {"refinement_rate": rate, "refinement_updates": 4, "refined_share": 1.0, "attention_rate": 0.0}
        edit, painter = models.edit(count=3, seed=11), models.painter(**changed)
        *_, last = painter.steps(edit)
        with torch.no_grad():
            return painter.fit_of(edit, last)

    assert (fit(100.0) - fit(0.0)).min() > 0.02  # seen: 0.057 at the least


def test_images_do_not_depend_on_their_companions_strength(models: Models) -> None:
    edit = models.edit()
    mixed = replace(edit, chain=replace(edit.chain, strengths=torch.tensor([0.7, 1.0])))
    *_, alike = models.painter().steps(edit)
    *_, other = models.painter().steps(mixed)
    assert torch.equal(alike[0], other[0])
    assert not torch.equal(alike[1], other[1])


def test_prompts_move_towards_their_descriptions(models: Models) -> None:
    edit = models.edit(count=1)

    def cosine(tokens: Tensor) -> float:
        return torch.cosine_similarity(tokens.mean(dim=1), edit.detailed_tokens.mean(dim=1)).item()

    before, moved = 1 - cosine(edit.tokens), edit.tokens
    for _ in range(8):
        moved = towards(moved, edit.detailed_tokens, PARAMS.prompt_rate)
    assert 1 - cosine(moved) < 0.25 * before
    assert torch.equal(towards(edit.tokens, edit.detailed_tokens, 0.0), edit.tokens)


def test_at_first_a_prompt_turns_from_the_clean_ones_way_to_the_descriptions(models: Models) -> None:
    edit = models.edit(count=2)
    wanted = (edit.detailed_tokens - edit.clean_tokens).mean(dim=1)

    def angle(tokens: Tensor) -> Tensor:
        return 1 - torch.cosine_similarity((tokens - edit.clean_tokens).mean(dim=1), wanted)

    after = turned(edit.tokens, edit.clean_tokens, edit.detailed_tokens, PARAMS)
    assert (angle(edit.tokens) > 0.05).all()
    assert (angle(after) < 0.1 * angle(edit.tokens)).all()


def test_prompts_of_clips_size_move_too() -> None:
    """77 tokens of 768 numbers: of the gradient as it is, a step moves the mean of so many by next to nothing."""
    generator = torch.Generator().manual_seed(0)
    tokens, detailed = torch.randn(2, 2, 77, 768, generator=generator)
    before = 1 - torch.cosine_similarity(tokens.mean(dim=1), detailed.mean(dim=1))
    for _ in range(8):
        tokens = towards(tokens, detailed, PARAMS.prompt_rate)
    assert (1 - torch.cosine_similarity(tokens.mean(dim=1), detailed.mean(dim=1)) < 0.5 * before).all()


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_a_perfect_prediction_leads_back_to_the_clean_image(kind: str) -> None:
    config = dict(DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind).config)
    schedule = training_schedule(config)
    clean, noise = torch.randn(2, 2, 4, 4, 4).unbind()
    chain = Chain(schedule, clean, torch.ones(2, 1, 4, 4), noise, torch.tensor([0.3, 0.9]), 4)
    latents = chain.start()
    for step in range(chain.steps):
        signal = schedule.alphas_cumprod[chain.timesteps(step)].sqrt().view(-1, 1, 1, 1)
        velocity = signal * noise - (1 - signal**2).sqrt() * clean
        latents = chain.advance(latents, noise if kind == "epsilon" else velocity, step)
        assert torch.allclose(latents, at_level(schedule, clean, noise, chain.timesteps(step + 1)), atol=1e-4)
    assert chain.timesteps(0).tolist() == [299, 899]
    assert chain.timesteps(4).tolist() == [-1, -1]
