"""AnomalyDiffusion's mask generator: textual inversion on mask pictures (arXiv 2312.05767), for the source `learned`.

In: the train split's masks, real and pseudo. Out: new masks of each category and defect type. Tokens e_m of each type
are learned by the ordinary loss |target - prediction|^2 on the codec's latents of white-on-black pictures. A
Stable-Diffusion-type backbone stays frozen, as in the paper: it can draw such pictures. The embedded one has seen
nothing but the dataset's photographs and cannot, so with it a small U-Net of its own learns together with the tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from tasks.contracts import Mask, ReferenceMask
from tasks.diffusion import codec_training
from tasks.diffusion.codec import FACTOR, Codec
from tasks.diffusion.denoiser import Condition, Denoiser, LabelTable
from tasks.diffusion.latents import to_tensor
from tasks.diffusion.pool import DenoiserTrainer, encode_pool
from tasks.diffusion.schedule import sampling_schedule, timesteps_of, training_schedule
from tasks.diffusion.text_backbone import EmbeddedBackbone, Hole, TextBackbone, new_backbone
from tasks.files.names import PSEUDO_MASKS
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import references_of
from tasks.masks.pseudo_store import read_references
from tasks.networks.device import lower_precision, moved
from tasks.params import Params, TrainingParams, fingerprint
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator, torch_generator
from tasks.synthesis.anomalydiffusion.mask_pictures import MaskPicture, mask_of, mask_pictures
from tasks.training.composites import TrainingImage
from tasks.training.loop import run_training

CHECKPOINT = "mask_inversion.checkpoint.safetensors"
_TOKENS = 4
_CHANNELS = [64, 96, 128]
_PICTURE_SIDE = 96
"""Of the small U-Net's pictures: on fewer cells it learns a whole shape, on many its texture first."""
_PICTURES_PER_TYPE = 64
_BATCH = 16
_LEARNING_RATE = {"embedded": 2e-3, "pretrained": 5e-3}
_EMA_DECAY = 0.99
_SAMPLING_STEPS = 30
_TRIES = 4
"""Times the wanted number, that pictures are drawn at most."""


class MaskDenoiser(Denoiser):
    """A backbone that is told e_m, the learned tokens of a label, and nothing else."""

    empty_label = 0

    def __init__(self, backbone: TextBackbone, labels: int, blank: Hole | None) -> None:
        """`blank`: one picture that is a hole as a whole, for a backbone that takes holes."""
        super().__init__()
        self.backbone, self._blank = backbone, blank
        self.tokens = nn.Parameter(torch.randn(labels, _TOKENS, backbone.width))

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        return self.predict(noisy, timesteps, condition.labels)

    def predict(self, noisy: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        hole = self._blank and self._blank.repeated(len(noisy))
        return self.backbone.predict(noisy, timesteps, self.tokens[labels], hole)

    def trained_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.named_parameters() if value.requires_grad}


@dataclass(frozen=True)
class MaskInversionModel:
    """What masks are drawn with."""

    denoiser: MaskDenoiser
    schedule: DDPMScheduler
    codec: Codec
    table: LabelTable
    """Of the pairs that have a mask to learn from."""


def generate_masks(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report
) -> list[ReferenceMask]:
    """`masks.learned_per_type` masks of each category and type that has one to learn from; none without any.

    A type gets fewer where too many drawn pictures were no masks. Training goes on from its last checkpoint.
    """
    references = references_of(inputs, read_references(workdir / PSEUDO_MASKS))
    if not references:
        return []
    codec_training.fit_codec(inputs, params, workdir, device, report)
    seed = derive(params.dataset.seed, "mask inversion")
    pictures = mask_pictures(references, _PICTURES_PER_TYPE, picture_side(params), numpy_generator(seed))
    model = new_model(codec_training.own_fitted_codec(params, workdir, device), pictures, params, seed)
    _train(model, pictures, params, workdir, seed, report)
    masks = []
    for label, pair in enumerate(model.table.pairs):
        report("drawing masks", label, len(model.table))
        drawn = draw_pictures(model, label, picture_side(params), seed)
        real = [known.mask for known in references if (known.category, known.defect_type) == pair]
        masks += _named(_accepted(drawn, real, params.masks.learned_per_type), *pair)
    (workdir / CHECKPOINT).unlink(missing_ok=True)
    return masks


def mask_training(params: Params) -> TrainingParams:
    """What the shared training loop reads: whole pictures, every cell alike, every label kept."""
    return TrainingParams(
        steps=params.masks.learned_steps,
        batch_size=_BATCH,
        learning_rate=_LEARNING_RATE[params.backbone.kind],
        ema_decay=_EMA_DECAY,
        whole_share=1.0,
        inside_weight=1.0,
        label_dropout=0.0,
    )


def picture_side(params: Params) -> int:
    """In pixels: that of the images, for which a pretrained backbone was made; less is enough for a small U-Net."""
    return params.dataset.image_size if params.backbone.kind == "pretrained" else _PICTURE_SIDE


@torch.no_grad()
def draw_pictures(model: MaskInversionModel, label: int, size: int, seed: int) -> Iterator[MaskPicture]:
    """Endless pictures (size, size) of a label; the n-th depends on seed, label and n alone."""
    shape = (model.codec.latent_channels, size // FACTOR, size // FACTOR)
    device = model.codec.device
    labels = torch.full((_BATCH,), label, device=device)
    for first in count(0, _BATCH):
        seeds = [derive(seed, f"{'/'.join(model.table.pairs[label])} {first + n}") for n in range(_BATCH)]
        latents = moved(torch.stack([torch.randn(shape, generator=torch_generator(one)) for one in seeds]), device)
        scheduler = sampling_schedule(model.schedule, "dpm-solver++", _SAMPLING_STEPS)
        with lower_precision(device):
            for timestep, timesteps in timesteps_of(scheduler, latents):
                prediction = model.denoiser.predict(latents, timesteps, labels).float()
                latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
            pictures = model.codec.decode(latents).float().mean(dim=1)
        yield from pictures.cpu().numpy()


def new_model(codec: Codec, pictures: Sequence[TrainingImage], params: Params, seed: int) -> MaskInversionModel:
    """With weights drawn from `seed`; the small U-Net gets latents of unit variance of the pictures it is to draw."""
    table = LabelTable(tuple(sorted({(shown.category, shown.defect_type) for shown in pictures})))
    if params.backbone.kind == "embedded":
        images = [shown.image for shown in pictures]
        codec.normalise_latents(to_tensor(images[i : i + _BATCH], codec.device) for i in range(0, len(images), _BATCH))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if params.backbone.kind == "pretrained":
            backbone, schedule = new_backbone(params.backbone, codec.latent_channels, table, seed)
        else:
            backbone, schedule = EmbeddedBackbone(codec.latent_channels, _CHANNELS, []), training_schedule()
            backbone.words.requires_grad_(False)
        side = picture_side(params)
        picture = torch.zeros(1, 3, side, side, device=codec.device)
        blank = backbone.to(codec.device).hole_in(codec, picture, torch.ones_like(picture[:, :1]))
        denoiser = MaskDenoiser(backbone, len(table), blank).to(codec.device)
        return MaskInversionModel(denoiser, schedule, codec, table)


def _train(
    model: MaskInversionModel,
    pictures: Sequence[TrainingImage],
    params: Params,
    workdir: Path,
    seed: int,
    report: Report,
) -> None:
    training, checkpoint = mask_training(params), workdir / CHECKPOINT
    pool = encode_pool(model.codec, pictures, model.table)
    shown = hashlib.sha256(pool.latents.numpy().tobytes()).hexdigest()
    made_from = fingerprint("mask inversion 2", training, params.backbone, seed, params.dataset.threads, shown)
    trainer = DenoiserTrainer(model.denoiser, model.schedule, pool, training, seed)
    trainer.resume_from(checkpoint, made_from)
    run_training(trainer, checkpoint, made_from, lambda done, steps: report("learning masks", done, steps))
    trainer.finish()


def _accepted(drawn: Iterator[MaskPicture], real: Sequence[Mask], wanted: int) -> Iterator[Mask]:
    """At most `wanted` masks, each of the size of a real one."""
    masks = (mask_of(picture, like) for picture, like in zip(islice(drawn, _TRIES * wanted), cycle(real), strict=False))
    return islice((mask for mask in masks if mask is not None), wanted)


def _named(masks: Iterable[Mask], category: str, defect_type: str) -> list[ReferenceMask]:
    prefix = f"learned/textual_inversion/{category}/{defect_type}"
    return [
        ReferenceMask(f"{prefix}/{number:04d}", category, defect_type, mask, pseudo=False, learned=True)
        for number, mask in enumerate(masks)
    ]
