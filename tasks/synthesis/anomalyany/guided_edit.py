"""AnomalyAny's painting (arXiv 2406.01078): a short chain from the noised clean image, guided in three ways.

At every step the latents inside the mask are first moved until the place attends to the anomaly's words
(`attention_guidance`). In the last share of the steps that are run (not of the paper's whole chain, of which only the
last 25 are run) the prompt's embedding is moved towards that of a detailed description c', L_prompt = 1 - cos(tau(c),
tau(c')), and the latents until the image fits c', L_img = 1 - cos(text(c'), image(D(z_0))). Then the step is taken,
with guidance between the prompts of the defect and of the clean image inside the mask, where the paper guides against
the empty prompt all over: it is seen to paint more, and leaves the surroundings alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.attention import cross_attention
from tasks.diffusion.codec import Codec
from tasks.diffusion.latents import guidance_scale, guided
from tasks.diffusion.schedule import TRAIN_TIMESTEPS
from tasks.diffusion.text_backbone import Hole, TextBackbone
from tasks.networks.device import lower_precision
from tasks.params.systems import AnomalyAnyParams
from tasks.synthesis.anomalyany.attention_guidance import (
    Words,
    anomaly_map,
    attention_loss,
    descend,
    focus_of,
    step_size,
)
from tasks.synthesis.anomalyany.normal_conditioning import Chain
from tasks.synthesis.anomalyany.text_image import TextImage


@dataclass(frozen=True)
class GuidedEditRequest:
    """n places to be painted, and what is to be seen there."""

    chain: Chain
    masks: Tensor
    """(n, 1, height, width) of 0 and 1."""
    hole: Hole | None
    """For a backbone that takes one."""
    words: Words
    """Of the prompts."""
    tokens: Tensor
    """tau(c), the embedded prompts of the defects: (n, tokens, width)."""
    clean_tokens: Tensor
    """Those of the same images without a defect."""
    rival_tokens: Tensor
    """Those that guidance leads away from: the clean ones, or the empty text's."""
    detailed_tokens: Tensor
    """tau(c'), those of the detailed descriptions."""
    described: Tensor
    """text(c'), the descriptions in the space of texts and images: unit vectors (n, width)."""


@dataclass(frozen=True)
class GuidedPainter:
    """What the models make of an Edit."""

    backbone: TextBackbone
    codec: Codec
    text_image: TextImage
    params: AnomalyAnyParams

    @torch.no_grad()
    def steps(self, edit: GuidedEditRequest) -> Iterator[Tensor]:
        """The latents (n, channels, h, w) after every step; the last ones are free of noise, and clean outside."""
        latents, tokens = edit.chain.start(), edit.tokens
        first_focus = focus_of(self.attention(edit, latents, tokens, 0))
        for step in range(edit.chain.steps):
            latents = self.attend(edit, latents, tokens, step, first_focus)
            first_refined = edit.chain.steps - round(self.params.refined_share * edit.chain.steps)
            if step == first_refined:
                tokens = turned(tokens, edit.clean_tokens, edit.detailed_tokens, self.params)
            if step >= first_refined:
                tokens = towards(tokens, edit.detailed_tokens, self.params.prompt_rate)
                latents = self.refine(edit, latents, tokens, step)
            latents = edit.chain.advance(latents, self.prediction(edit, latents, tokens, step), step)
            yield latents

    def attention(self, edit: GuidedEditRequest, latents: Tensor, tokens: Tensor, step: int) -> Tensor:
        """A^j at the latents, (n, side, side)."""
        with cross_attention(self.backbone.unet) as recorded, lower_precision(latents.device):
            self.backbone.predict(latents, edit.chain.timesteps(step).clamp_min(0), tokens, edit.hole)
        maps = recorded.at_side(self.params.attention_side)
        return anomaly_map(maps, edit.words, self.params.attention_sharpness)

    def attend(
        self, edit: GuidedEditRequest, latents: Tensor, tokens: Tensor, step: int, first_focus: Tensor
    ) -> Tensor:
        """z_t <- z_t - alpha_t grad(L_att) m, some times."""
        if not self.params.attention_rate:
            return latents
        focus = focus_of(self.attention(edit, latents, tokens, step))
        time = (edit.chain.timesteps(step) + 1) / TRAIN_TIMESTEPS
        alpha = step_size(self.params.attention_rate, self.params.attention_growth, time, focus, first_focus)

        def loss(tried: Tensor) -> Tensor:
            return attention_loss(self.attention(edit, tried, tokens, step), edit.masks)

        return descend(latents, loss, alpha.view(-1, 1, 1, 1) * edit.chain.cells, self.params.attention_updates)

    def refine(self, edit: GuidedEditRequest, latents: Tensor, tokens: Tensor, step: int) -> Tensor:
        """The latents moved inside the mask until the image they stand for fits its description better."""
        if not self.params.refinement_rate:
            return latents

        def loss(tried: Tensor) -> Tensor:
            prediction = self.prediction(edit, tried, tokens, step)
            return 1 - self.fit_of(edit, edit.chain.estimate(tried, prediction, step))

        return descend(latents, loss, self.params.refinement_rate * edit.chain.cells, self.params.refinement_updates)

    def fit_of(self, edit: GuidedEditRequest, latents: Tensor) -> Tensor:
        """The cosine (n,) between the decoded latents and the descriptions."""
        with lower_precision(latents.device):
            images = self.codec.decode(latents)
        return (self.text_image.of_images(images.float().clamp(-1, 1)) * edit.described).sum(dim=1)

    def prediction(self, edit: GuidedEditRequest, latents: Tensor, tokens: Tensor, step: int) -> Tensor:
        """v_clean + (1 + (g - 1) m) (v_defect - v_clean)."""
        timesteps = edit.chain.timesteps(step).clamp_min(0).repeat(2)
        hole = edit.hole and edit.hole.repeated(2)
        with lower_precision(latents.device):
            both = self.backbone.predict(
                latents.repeat(2, 1, 1, 1), timesteps, torch.cat([tokens, edit.rival_tokens]), hole
            )
        strengths = latents.new_full((len(latents),), self.params.guidance)
        return guided(both, guidance_scale(strengths, edit.chain.cells, self.params.guide_from))


def turned(tokens: Tensor, clean: Tensor, detailed: Tensor, params: AnomalyAnyParams) -> Tensor:
    """The paper's first iterations: the way from the clean prompt to the defect's, turned to the description's way.

    All are (n, tokens, width); a prompt is the mean of its tokens.
    """
    wanted = (detailed - clean).mean(dim=1)

    def loss(tried: Tensor) -> Tensor:
        return 1 - functional.cosine_similarity((tried - clean).mean(dim=1), wanted, dim=-1)

    return descend(tokens, loss, _step_of(tokens, params.prompt_rate), params.prompt_updates, normalised=True)


def towards(tokens: Tensor, detailed: Tensor, rate: float) -> Tensor:
    """One step down L_prompt = 1 - cos of the mean tokens, for prompts (n, tokens, width)."""
    wanted = detailed.mean(dim=1)

    def loss(tried: Tensor) -> Tensor:
        return 1 - functional.cosine_similarity(tried.mean(dim=1), wanted, dim=-1)

    return descend(tokens, loss, _step_of(tokens, rate), 1, normalised=True)


def _step_of(tokens: Tensor, rate: float) -> Tensor:
    """Of each prompt, in the units of its numbers: a text encoder's are around 1, the embedded one's are not."""
    return rate * tokens.square().mean(dim=(1, 2), keepdim=True).sqrt()
