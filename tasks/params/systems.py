"""One block of params a synthesis system, under the system's own name in params.yaml.

Every block has `strength`, the range that a sample's strength is drawn from: what it stands for is the system's own (a
guidance scale, an opacity, a share of variance), but more of it always is a more visible defect. Every key has a
default, for a block may be left out. The system's entry in the registry names the class, which may stand elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.params.blocks import (
    AveragedTrainingBlock,
    Block,
    Count,
    PoolTrainingBlock,
    Positive,
    Share,
    TrainingBlock,
)

MaskSource = Literal["perlin", "strokes", "reference", "boxes", "learned"]
MaskShares = dict[MaskSource, Share]
Strength = Annotated[float, Field(ge=0.0)]
GuideFrom = Literal["clean", "empty"]
"""What guidance leads away from. `clean`: the clean image's words, inside the mask. `empty`: the empty text, all over
the image, as papers with Stable Diffusion have it; an embedded backbone knows it from labels dropped in training."""


class SystemParams(Block):
    strength: tuple[Strength, Strength] = (0.0, 1.0)
    masks: MaskShares = {}
    """Mask sources of this system's samples and their shares; empty: those of `masks.sources`."""

    @model_validator(mode="after")
    def _ordered(self) -> SystemParams:
        if self.strength[0] > self.strength[1]:
            raise ValueError("strength is a range: its first number must not be above its second")
        return self


class CutPasteParams(SystemParams):
    """CutPaste; the strength is the share of the pasted patch against the surface below it."""

    strength: tuple[Strength, Strength] = (0.6, 1.0)
    masks: MaskShares = {"boxes": 1.0}
    jitter: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """By which share the patch's brightness, contrast and saturation change at most, and its hue, of the circle."""
    min_change: Annotated[float, Field(ge=0.0)] = 12.0
    """Grey levels by which the surface elsewhere must differ on average, before its colours change."""


class CropPasteParams(SystemParams):
    """Crop&Paste of real defects; the strength is the share of the pasted defect against the surface below it."""

    strength: tuple[Strength, Strength] = (0.8, 1.0)
    masks: MaskShares = {"reference": 1.0}
    exposure: Literal["match", "keep"] = "match"
    """`match`: one factor brings the surface around the real defect to the level around the mask. `keep`: none."""


class DraemParams(SystemParams):
    """DRAEM; the strength is the texture's opacity, 1 - beta."""

    strength: tuple[Strength, Strength] = (0.2, 1.0)
    textures: str = ""
    """A folder of pictures, such as DTD's, searched as a whole; a relative one starts from where the program runs.
    Empty: photographs of brick, grass and gravel (CC0), and procedural surfaces."""


class NsaParams(SystemParams):
    """NSA; the strength mixes the guidance of the Poisson equation: 0 the clean image's gradients, 1 the patch's."""

    strength: tuple[Strength, Strength] = (0.7, 1.3)
    masks: MaskShares = {"boxes": 1.0}
    clone: Literal["auto", "normal", "mixed"] = "auto"
    """`normal` takes the patch's gradients, `mixed` the steeper ones of patch and image. `auto`: mixed where the
    foreground fills the image, as the paper does for textures."""
    min_change: Annotated[float, Field(ge=0.0)] = 12.0
    """Grey levels of mean change at strength 1, below which another patch is tried."""


class SdasModelParams(AveragedTrainingBlock):
    """The diffusion model of clean images: one for the dataset, conditioned on the category."""

    kind: Literal["embedded", "pretrained"] = "embedded"
    path: str = ""
    """`pretrained`: a diffusers pipeline folder or hub name. Its UNet2DModel is trained on in full; a
    Stable-Diffusion-type UNet2DConditionModel is taken as it is, told 'a {category}'."""
    space: Literal["auto", "pixel", "latent"] = "auto"
    """`auto`: pixels up to 64 a side, else the latents of the dataset's codec."""
    channels: list[Annotated[int, Field(ge=32, multiple_of=32)]] = [64, 128, 192]
    """Of the embedded U-Net by level; it attends at the last."""
    views_per_category: Count = 300
    """Clean training images of each category, encoded once before training."""
    close_up_share: Share = 0.3
    """Of them, those that are magnified parts of images, as small defects are painted in."""
    steps: Count = 2000
    batch_size: Count = 16
    ema_decay: Share = 0.998


class SdasParams(SystemParams):
    """RealNet's SDAS; the strength is s, by which every step's variance is inflated to (1 + s).

    RealNet draws s from 0.1 to 0.2. Its samples are other objects than the clean twin's, so they differ without it; an
    anchored one differs by s alone, and in latents takes more of it to be seen; in pixels 0.05 to 0.4 suits.
    """

    strength: tuple[Strength, Strength] = (4.0, 16.0)
    masks: MaskShares = {"perlin": 1.0}
    """RealNet's. In a thin mask, such as a crack's, the texture that drifts is not seen."""
    steps: Count = 20
    """Of the respaced chain of 1000."""
    start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """The share of the chain that is run, from the clean image with that much noise; 1 is RealNet's pure noise."""
    anchored: bool = True
    """Whether strength 0 gives the clean image back, whatever the model has left to learn; RealNet's is not."""
    grain: Count = 4
    """In pixel space: pixels over which the noise that inflates the variance goes together; 1 is RealNet's."""
    opacity: tuple[Share, Share] = (0.8, 1.0)
    """Drawn uniformly per sample: the share of the anomalous image inside the mask (RealNet's alpha, from 0.5)."""
    model: SdasModelParams = SdasModelParams()


class AdaBLDMParams(SystemParams):
    """AdaBLDM; the strength is the guidance between the defect and the clean label inside the mask."""

    strength: tuple[Strength, Strength] = (1.4, 3.0)
    guide_from: GuideFrom = "clean"
    scheduler: Literal["dpm-solver++", "ddim"] = "dpm-solver++"
    steps: Count = 20
    free_share: Share = 0.4
    """Of the steps, those without any editing (AdaBLDM's stage 1)."""
    image_space_share: Share = 0.1
    """Of the steps, the last ones, edited in image space (stage 3); those between are edited in latent space."""


class EmbeddingTraining(PoolTrainingBlock):
    """Of AnomalyDiffusion's embedding, below a frozen backbone, on the defective images of the pool."""

    learning_rate: Positive = 5e-3


class AnomalyDiffusionParams(SystemParams):
    """AnomalyDiffusion; the strength is the guidance between the anomaly embedding and the clean prompt."""

    strength: tuple[Strength, Strength] = (1.4, 3.0)
    training: EmbeddingTraining = EmbeddingTraining()
    appearance_tokens: Count = 8
    """Of the learned vectors of each category and defect type; four more tokens say where the mask is."""
    inpaint: bool = True
    """Whether a backbone that was made for it is given the surroundings of the mask; the paper's was not."""
    scheduler: Literal["dpm-solver++", "ddim"] = "ddim"
    steps: Count = 20
    reweight_attention: bool = False
    """Adaptive attention re-weighting; its authors use it for defects of texture and not of structure."""
    reweight_limit: Annotated[float, Field(ge=1.0)] = 1.5
    """The largest factor by which it multiplies an attention score."""


class AnomalyAnyParams(SystemParams):
    """AnomalyAny; the strength is gamma, the share of the denoising chain that is run.

    The paper takes 0.25 of Stable Diffusion's chain; the embedded backbone shows little below 0.4.
    """

    strength: tuple[Share, Share] = (0.5, 0.8)
    steps: Count = 12
    """Of the share that is run; the paper runs 25."""
    guidance: Annotated[float, Field(ge=0.0)] = 4.0
    """Between the prompt of the defect and that of the clean image, inside the mask; 1 is none."""
    guide_from: GuideFrom = "clean"
    attention_rate: Annotated[float, Field(ge=0.0)] = 10.0
    """lambda, of the steps of the attention-guided optimisation; 0: none."""
    attention_growth: Annotated[float, Field(ge=0.0)] = 1.0
    """Delta: how much larger the steps are at the noisy end of the chain."""
    attention_updates: Count = 3
    """Optimisation steps at each denoising step; the paper takes 10."""
    attention_side: Annotated[int, Field(ge=4)] = 16
    """Of the attention maps, in places a side."""
    attention_sharpness: Positive = 10.0
    """Times the attention before it is shared out among the words alone. The published 100 suits a text encoder that
    gives its first token nearly all; the embedded one's maps it leaves at 1, with nothing to optimise."""
    refined_share: Share = 0.3
    """Of the denoising steps, the last ones, at which the image is refined towards its description."""
    refinement_rate: Annotated[float, Field(ge=0.0)] = 10.0
    """Of the refinement's steps; 0: none."""
    refinement_updates: Count = 2
    prompt_rate: Annotated[float, Field(ge=0.0)] = 0.1
    """Of the steps by which the prompt's embedding is moved towards the description's, in its own root mean square."""
    prompt_updates: Annotated[int, Field(ge=0)] = 20
    """Steps before the first refinement, that turn it from the clean prompt's way to the description's."""
    descriptions: dict[str, dict[str, str]] = {}
    """A sentence by category and defect type; those of the public categories are shipped, and are the default."""
    text_image_kind: Literal["embedded", "pretrained"] = "embedded"
    """What compares an image with its description: a small model trained on the train split, or CLIP."""
    text_image_path: str = ""
    """`pretrained`: a folder or hub name that transformers' CLIPModel.from_pretrained takes."""
    text_image_pool: Count = 400
    """Augmented and composited images the embedded one is trained on."""
    text_image_steps: Count = 300


class TokenCodecParams(TrainingBlock):
    """A VQGAN's codec: images to tokens."""

    kind: Literal["embedded", "pretrained"] = "embedded"
    path: str = ""
    """`pretrained`: a folder or hub name that diffusers' VQModel.from_pretrained takes; it is not trained further."""
    codebook_size: Count = 512
    steps: Count = 200
    learning_rate: Positive = 4e-4
    crop: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    """Pixels a side of the training images."""
    commitment: Positive = 0.25
    """beta, the weight of the commitment to the codebook."""
    lpips_weight: Annotated[float, Field(ge=0.0)] = 0.5
    discriminator_width: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    discriminator_start: Share = 0.4
    """Of the steps, those before the discriminator begins to learn."""
    discriminator_weight: Annotated[float, Field(ge=0.0)] = 0.8


class MaskCodecParams(TrainingBlock):
    """The codec of masks: their outlines to tokens."""

    codebook_size: Count = 64
    code_dim: Count = 8
    steps: Count = 400
    batch_size: Count = 32
    learning_rate: Positive = 2e-3
    commitment: Positive = 0.25
    checkpoint_every: Count = 200


class TokenPriorParams(PoolTrainingBlock):
    """An autoregressive transformer over a window of tokens."""

    window: Annotated[int, Field(ge=4)] = 16
    """Tokens a side of what it sees at once; an image of fewer tokens is seen whole."""
    width: Annotated[int, Field(ge=16, multiple_of=8)] = 192
    layers: Count = 6
    heads: Count = 6
    dropout: Share = 0.1
    token_noise: Share = 0.1
    """Of the tokens read in training, those replaced by random ones (Taming's 1 - pkeep)."""
    inside_weight: Annotated[float, Field(ge=1.0)] = 8.0
    """Weight of the loss on cells that the mask meets against all others."""
    pool_size: Count = 1200
    steps: Count = 600
    batch_size: Count = 16


class VQTransformerParams(SystemParams):
    """VQ-Transformer; the strength is the guidance between the defect and the clean condition of the prior."""

    strength: tuple[Strength, Strength] = (1.5, 4.0)
    codec: TokenCodecParams = TokenCodecParams()
    prior: TokenPriorParams = TokenPriorParams()
    mask_codec: MaskCodecParams = MaskCodecParams()
    mask_prior: TokenPriorParams = TokenPriorParams(width=128, layers=4, heads=4, steps=300)
    temperature: Positive = 1.0
    """Of each token's distribution; less is more alike."""
    top_k: Count = 100
    """Tokens are drawn from so many of the likeliest."""


class LowRankTraining(PoolTrainingBlock):
    """Of the few-shot painter's adapters and tokens, on the frozen text backbone."""

    rank: Count = 8
    convolutions: bool = True
    """Adapt the residual blocks' convolutions as well as the attention; the embedded U-Net has little of the latter."""
    pool_size: Count = 800
    batch_size: Count = 4
    """Images a step; each is seen with its mask as the hole, and with random boxes."""
    ema_decay: Share = 0.995
    defect_weight: Annotated[float, Field(ge=0.0)] = 0.5
    object_weight: Annotated[float, Field(ge=0.0)] = 0.2
    attention_weight: Annotated[float, Field(ge=0.0)] = 0.05
    outside_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    """DefectFill's alpha: the weight, before it is squared, of the object around a defect against the defect."""
    prompt_noise: Annotated[float, Field(ge=0.0)] = 0.5
    """Standard deviation, in those of the tokens, of the noise on the prompt in training and in painting."""


class InpaintLoraParams(SystemParams):
    """The few-shot inpainting painter; the strength is the guidance between the defect and the clean prompt."""

    strength: tuple[Strength, Strength] = (1.2, 3.0)
    guide_from: GuideFrom = "clean"
    training: LowRankTraining = LowRankTraining()
    scheduler: Literal["dpm-solver++", "ddim"] = "dpm-solver++"
    steps: Count = 16
    start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """The share of the chain that is run, from a real defect pasted into the mask and noised; 1: from pure noise. The
    further up it starts, the more of a defect is new; a small backbone then loses thin strands and paints boldly."""
    candidates: Count = 4
    """Painted of every sample, of which one is kept: not like the clean image, but like the type's real defects."""
