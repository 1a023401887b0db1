"""The embedded text-image model, trained once for a dataset by contrasting the texts of its labels (CLIP's loss).

In: composites, real defects and clean images of the train split, and two texts a label, the prompt and the description.
Out: `text_image.safetensors`. A minute or less: what is trained are two linear layers and a table of words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import to_tensor
from tasks.diffusion.pool import label_table, pool_images
from tasks.diffusion.pretrained import prompt_of
from tasks.files.hashing import file_sha256
from tasks.files.names import PSEUDO_MASKS
from tasks.files.products import is_made
from tasks.files.tensors import read_safetensors
from tasks.inputs.dataset import Inputs
from tasks.networks.device import lower_precision
from tasks.params import Params, fingerprint
from tasks.params.systems import AnomalyAnyParams
from tasks.progress import Report
from tasks.seeds import derive
from tasks.synthesis.anomalyany.text_image import EmbeddedTextImage, PretrainedTextImage, TextImage, pooled_features
from tasks.training.composites import TrainingImage
from tasks.training.loop import AveragedTrainer, train_product

TEXT_IMAGE = "text_image.safetensors"
Sentences = Mapping[str, Mapping[str, str]]
"""A sentence by category and defect type."""
_BATCH = 16
_TEMPERATURE = 0.07
_DROPOUT = 0.3
"""Of the features: a few hundred images are few for two thousand of them."""


@dataclass(frozen=True)
class _Recipe:
    steps: int
    learning_rate: float = 3e-3
    ema_decay: float = 0.98

    @property
    def checkpoint_every(self) -> int:
        """Never: it is over before a checkpoint would be worth its while."""
        return self.steps + 1


@dataclass(frozen=True)
class _Examples:
    """On the host."""

    features: Tensor
    """(n, features)."""
    labels: Tensor
    """(n,)."""


@dataclass(frozen=True)
class _ContrastBatch:
    features: Tensor
    kept: Tensor
    """Which of the features are seen, of bool."""
    labels: Tensor
    texts: int
    """The number of the list of texts."""


class _Contrast(AveragedTrainer[_ContrastBatch]):
    def __init__(
        self, model: EmbeddedTextImage, examples: _Examples, texts: list[list[str]], recipe: _Recipe, seed: int
    ) -> None:
        """`texts`: some lists of one text a label."""
        super().__init__(model, recipe, seed)
        self.model, self.examples, self.texts = model, examples, texts

    def draw(self, step: int) -> _ContrastBatch:
        generator = self.generator(step)
        chosen = torch.randint(len(self.examples.labels), (_BATCH,), generator=generator)
        features = self.examples.features[chosen]
        kept = torch.rand(features.shape, generator=generator) >= _DROPOUT
        texts = int(torch.randint(len(self.texts), (), generator=generator))
        return _ContrastBatch(features, kept, self.examples.labels[chosen], texts)

    def loss(self, batch: _ContrastBatch) -> Tensor:
        images = self.model.of_features(torch.where(batch.kept, batch.features, self.model.mean))
        cosines = images @ self.model.of_texts(self.texts[batch.texts]).T
        return functional.cross_entropy(cosines / _TEMPERATURE, batch.labels)


def fit_text_image(
    inputs: Inputs, params: Params, descriptions: Sentences, workdir: Path, device: torch.device, report: Report
) -> None:
    """Train the embedded model; a pretrained one is taken as it is."""
    block, target = params.of(AnomalyAnyParams), workdir / TEXT_IMAGE
    if block.text_image_kind == "pretrained":
        return
    table = label_table(inputs)
    texts = _texts(table, params, descriptions)
    made_from = _made_from(inputs, params, texts, workdir)
    if is_made(target, made_from):
        return
    seed = derive(params.dataset.seed, "text image")
    training = params.backbone.model_copy(update={"pool_size": block.text_image_pool})
    pool = pool_images(inputs, params, training, workdir, seed, report)
    examples = _examples(pool, table, device, report)
    model = _new_model(texts, seed)
    model.measure(examples.features)
    trainer = _Contrast(model.to(device), examples, texts, _Recipe(block.text_image_steps), seed)
    train_product(trainer, target, made_from, "learning what words mean", report, model.state_dict)


def load_text_image(
    inputs: Inputs, params: Params, descriptions: Sentences, workdir: Path, device: torch.device
) -> TextImage:
    """Raises DefectoryError where the fit has not finished."""
    block = params.of(AnomalyAnyParams)
    if block.text_image_kind == "pretrained":
        return PretrainedTextImage(block.text_image_path).to(device)
    model = _new_model(_texts(label_table(inputs), params, descriptions), seed=0)
    model.load_state_dict(read_safetensors(workdir / TEXT_IMAGE))
    return model.requires_grad_(False).eval().to(device)


def _texts(table: LabelTable, params: Params, descriptions: Sentences) -> list[list[str]]:
    prompts = [prompt_of(params.backbone.prompt, *pair) for pair in table.pairs]
    return [prompts, [descriptions[category][kind] for category, kind in table.pairs]]


def _new_model(texts: list[list[str]], seed: int) -> EmbeddedTextImage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedTextImage([text for one_a_label in texts for text in one_a_label])


@torch.no_grad()
def _examples(pool: list[TrainingImage], table: LabelTable, device: torch.device, report: Report) -> _Examples:
    features = []
    for start in range(0, len(pool), _BATCH):
        images = to_tensor([item.image for item in pool[start : start + _BATCH]], device)
        with lower_precision(device):
            features.append(pooled_features(images).cpu())
        report("looking at training images", min(start + _BATCH, len(pool)), len(pool))
    labels = [table.index(item.category, item.defect_type) for item in pool]
    return _Examples(torch.cat(features), torch.tensor(labels))


def _made_from(inputs: Inputs, params: Params, texts: list[list[str]], workdir: Path) -> str:
    block, pseudo = params.of(AnomalyAnyParams), workdir / PSEUDO_MASKS
    return fingerprint(
        "text image 2",
        [block.text_image_pool, block.text_image_steps, texts],
        [params.dataset.seed, params.dataset.threads, inputs.sha256, params.paint.close_up_cells],
        params.masks,
        params.backbone.composite_share,
        [file_sha256(pseudo)] if pseudo.is_file() else [],
    )
