"""A generator of masks: outlines in tokens, and a small transformer that is told category, defect type and area.

In: the train split's real masks and pseudo-masks. Out: new ones for the mask source `learned`. A handful of masks is
made many by turning, scaling and bending; what the transformer then draws is like all of them and the same as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.contracts import ReferenceMask
from tasks.diffusion.denoiser import LabelTable
from tasks.files.hashing import file_sha256
from tasks.files.names import PSEUDO_MASKS
from tasks.files.products import is_made
from tasks.files.tensors import read_safetensors
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import references_of
from tasks.masks.pseudo_store import read_references
from tasks.networks.device import HOST, device_of, moved
from tasks.params import Params, fingerprint
from tasks.params.systems import TokenPriorParams, VQTransformerParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator, torch_generator
from tasks.synthesis.vq_transformer.fill import draw_ids, gumbel
from tasks.synthesis.vq_transformer.grids import reading_order
from tasks.synthesis.vq_transformer.mask_codec import MASK_FACTOR, MaskCodec, MaskCodecTraining
from tasks.synthesis.vq_transformer.outline import AREA_BINS, Outline, augmented, outline_of, place_outline
from tasks.synthesis.vq_transformer.prior import Prior, TokenWindow
from tasks.synthesis.vq_transformer.prior_training import TokenBatch, token_batch, token_loss
from tasks.synthesis.vq_transformer.training import dataset_of, seed_torch
from tasks.training.loop import AveragedTrainer, train_product

MASK_CODEC, MASK_PRIOR = "vq_mask_codec.safetensors", "vq_mask_prior.safetensors"
_ROUNDS = 8
"""Of drawing as many masks as are wanted: few are refused, and a type whose masks all are is given up."""


@dataclass(frozen=True)
class OutlineTokens:
    """On the host."""

    ids: Tensor
    """(n, cells)."""
    labels: Tensor
    """(n,)."""
    area_bins: Tensor
    """(n,)."""


@dataclass(frozen=True)
class MaskPriorModel:
    codec: MaskCodec
    prior: Prior
    table: LabelTable


class MaskPriorTrainer(AveragedTrainer[TokenBatch]):
    """Of the prior of masks."""

    def __init__(self, prior: Prior, tokens: OutlineTokens, params: TokenPriorParams, seed: int) -> None:
        super().__init__(prior, params, seed)
        self.prior, self.tokens, self.params = prior, tokens, params

    def draw(self, step: int) -> TokenBatch:
        generator, tokens = self.generator(step), self.tokens
        chosen = torch.randint(len(tokens.ids), (self.params.batch_size,), generator=generator)
        window = whole_window(tokens.labels[chosen], tokens.area_bins[chosen], tokens.ids.shape[1])
        return token_batch(tokens.ids[chosen], window, self.prior.codes, self.params.token_noise, generator)

    def loss(self, batch: TokenBatch) -> Tensor:
        return token_loss(self.prior, batch, self.params.inside_weight)


def generate_masks(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report
) -> list[ReferenceMask]:
    """`masks.learned_per_type` masks for each category and defect type that has any to learn from.

    Trains in `workdir`, resumably, what is not trained yet. A type of whose masks too many are refused gets fewer; none
    where there is nothing to learn from.
    """
    references = references_of(inputs, read_references(workdir / PSEUDO_MASKS))
    if not references:
        return []
    model = fit_masks(references, inputs, params, workdir, device, report)
    masks: list[ReferenceMask] = []
    for number, (category, defect_type) in enumerate(model.table.pairs):
        report("drawing masks", number, len(model.table))
        alike = [item for item in references if (item.category, item.defect_type) == (category, defect_type)]
        masks += draw_masks(model, alike, params) if alike else []
    return masks


def fit_masks(
    references: Sequence[ReferenceMask],
    inputs: Inputs,
    params: Params,
    workdir: Path,
    device: torch.device,
    report: Report,
) -> MaskPriorModel:
    """Train codec and prior of the masks, each once."""
    block, seed = params.of(VQTransformerParams), derive(params.dataset.seed, "vq masks")
    pseudo = [file_sha256(path) for path in (workdir / PSEUDO_MASKS,) if path.is_file()]
    made_from = fingerprint("vq masks 2", block.mask_codec, block.mask_prior, dataset_of(inputs, params), pseudo)
    table = LabelTable.of((item.category, item.defect_type) for item in references)
    seed_torch(seed)
    codec = MaskCodec(block.mask_codec).to(device)
    prior = Prior(block.mask_codec.codebook_size, len(table), AREA_BINS, block.mask_prior.window, block.mask_prior)
    prior = prior.to(device)
    if not (is_made(workdir / MASK_CODEC, made_from) and is_made(workdir / MASK_PRIOR, made_from)):
        report("augmenting masks", 0, block.mask_prior.pool_size)
        outlines, labels, bins = _examples(references, table, block.mask_prior, seed)
        training = MaskCodecTraining(codec, outlines, block.mask_codec, seed)
        what = "training the codec of masks"
        train_product(training, workdir / MASK_CODEC, made_from, what, report, codec.state_dict)
        ids = codec.encode(moved(outlines.float(), device)).to(HOST)
        trainer = MaskPriorTrainer(prior, OutlineTokens(ids.flatten(1), labels, bins), block.mask_prior, seed)
        what = "training the prior of masks"
        train_product(trainer, workdir / MASK_PRIOR, made_from, what, report, prior.state_dict)
    codec.load_state_dict(read_safetensors(workdir / MASK_CODEC))
    prior.load_state_dict(read_safetensors(workdir / MASK_PRIOR))
    return MaskPriorModel(codec.eval(), prior.eval(), table)


def draw_masks(model: MaskPriorModel, alike: Sequence[ReferenceMask], params: Params) -> list[ReferenceMask]:
    """New masks of one category and defect type; their sizes are those of real ones, a little varied."""
    category, defect_type = alike[0].category, alike[0].defect_type
    seed = derive(params.dataset.seed, f"vq masks {category} {defect_type}")
    wanted, masks = params.masks.learned_per_type, []
    for attempt in range(_ROUNDS):
        chooser = numpy_generator(derive(seed, f"sizes {attempt}"))
        chosen = [alike[int(number)].mask for number in chooser.integers(len(alike), size=wanted)]
        like = [outline_of(mask, model.prior.window * MASK_FACTOR, params.dataset.image_size) for mask in chosen]
        spans = [item.span * chooser.uniform(0.85, 1.15) for item in like]
        generator = torch_generator(derive(seed, f"tokens {attempt}"))
        outlines = draw_outlines(model, model.table.index(category, defect_type), like, params, generator)
        placed = [place_outline(o, span, params.dataset.image_size) for o, span in zip(outlines, spans, strict=True)]
        masks += [m for m in placed if m is not None and params.masks.min_area <= m.mean() <= params.masks.max_area]
        if len(masks) >= wanted:
            break
    name = f"learned/vq_transformer/{category}/{defect_type}"
    return [
        ReferenceMask(f"{name}/{number:04d}", category, defect_type, mask, pseudo=False, learned=True)
        for number, mask in enumerate(masks[:wanted])
    ]


@torch.no_grad()
def draw_outlines(
    model: MaskPriorModel, label: int, like: Sequence[Outline], params: Params, generator: torch.Generator
) -> np.ndarray:
    """Bool (n, side, side), one for each of `like`, whose area bins they have."""
    cells, block, device = model.prior.window**2, params.of(VQTransformerParams), device_of(model.prior)
    window = whole_window(torch.full((len(like),), label), torch.tensor([item.area_bin for item in like]), cells)
    window, noise = moved((window, gumbel((cells, len(like), model.prior.codes), generator)), device)
    ids = torch.zeros((len(like), cells), dtype=torch.long, device=device)
    logits, cache = model.prior.begin(ids, 0, window)
    for number in range(cells):
        ids[:, number] = draw_ids(logits, block.temperature, block.top_k, noise[number])
        if number + 1 < cells:
            logits = model.prior.go_on(ids, number, window, cache)
    outlines: np.ndarray = model.codec.decode(ids.view(-1, model.prior.window, model.prior.window)).to(HOST).numpy()
    return outlines


def whole_window(labels: Tensor, settings: Tensor, cells: int) -> TokenWindow:
    """Windows of which nothing is known and in which no cell is special; on the host."""
    nothing = torch.zeros((len(labels), cells), dtype=torch.long)
    nowhere = torch.full((*nothing.shape, 2), -1.0)
    return TokenWindow(labels, settings, nowhere, nothing, reading_order(nothing.bool()))


def _examples(
    references: Sequence[ReferenceMask], table: LabelTable, params: TokenPriorParams, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`params.pool_size` outlines (n, 1, side, side), uint8, their labels and area bins; all types in equal parts."""
    generator = numpy_generator(derive(seed, "pool"))
    pairs = sorted({(item.category, item.defect_type) for item in references})
    groups = {pair: [item for item in references if (item.category, item.defect_type) == pair] for pair in pairs}
    chosen = []
    for number in range(params.pool_size):
        group = groups[pairs[number % len(pairs)]]
        chosen.append(group[int(generator.integers(len(group)))])
    made = [augmented(item.mask, params.window * MASK_FACTOR, generator) for item in chosen]
    return (
        torch.from_numpy(np.stack([outline.mask for outline in made])).unsqueeze(1).byte(),
        torch.tensor([table.index(item.category, item.defect_type) for item in chosen]),
        torch.tensor([outline.area_bin for outline in made]),
    )
