"""Published decoder adaptation (AdaBLDM, algorithm 2) beside the closed form, on the same painted candidates.

    python -m benchmarks.adaptation --workspace DIR [--samples 8]

Takes the inputs and models of a finished run, paints samples from its plan, adapts them both ways. Ring error: mean
|difference| to the clean image in the ring over which a result is blended into it, in grey levels, before pasting; what
lies beyond is the photograph's in any case. Seam: the contrast at the mask's border against the clean image's, after
pasting; 1 where no border shows. In-mask difference: mean |difference| to the decoder's plain output inside, in grey
levels. The figure is how many times cheaper ours is.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import print_figure
from tasks.contracts import Place
from tasks.diffusion.codec import Codec, decode_plain
from tasks.diffusion.latents import mask_tensor, to_images, to_tensor
from tasks.files.names import PSEUDO_MASKS
from tasks.generation.adaptation import adapt_decoder
from tasks.inputs.dataset import read_inputs
from tasks.masks.draw import draw_mask, references_of
from tasks.masks.pseudo_store import read_pseudo_masks
from tasks.networks.device import choose_device
from tasks.params import AdaptParams, load_params
from tasks.plan import plan_samples
from tasks.quality.change import change, distance_to, mean_where, within
from tasks.quality.seam import seam_contrast
from tasks.synthesis import adabldm
from tasks.training.closeup import paste


@dataclass(frozen=True)
class Case:
    codec: Codec
    latents: Tensor
    cleans: Tensor
    masks: Tensor


def painted_case(workspace: Path, count: int) -> Case:
    """The first samples of each category's plan, painted."""
    params = load_params(workspace / "params.yaml")
    inputs = read_inputs(workspace / "data" / "inputs")
    models = workspace / "data" / "models"
    model = adabldm.load(inputs, params, models, choose_device())
    references = references_of(inputs, [row.reference() for row in read_pseudo_masks(models / PSEUDO_MASKS)])
    share = -(-count // len(inputs.categories))
    specs = [spec for spec in plan_samples(params, inputs) if spec.index < share]
    places = []
    for spec in specs:
        clean = inputs.by_id(spec.clean_id)
        places.append(Place(spec, clean, draw_mask(spec, clean, references, params.masks)))
    latents = adabldm.paint(model, places, params).latents
    assert latents is not None
    cleans, masks = [place.clean.image for place in places], [place.mask for place in places]
    device = model.codec.device
    return Case(model.codec, latents, to_tensor(cleans, device), mask_tensor(masks, device))


@dataclass(frozen=True)
class Measured:
    ring: float
    seam: float
    inside: float
    seconds: float
    """An image."""


def measure(case: Case, params: AdaptParams) -> Measured:
    started = time.perf_counter()
    adapted = adapt_decoder(case.codec, case.latents, case.cleans, case.masks, params)
    seconds = (time.perf_counter() - started) / len(case.latents)
    plain = decode_plain(case.codec, case.latents)
    rings, seams = [], []
    for result, clean, mask in zip(
        to_images(adapted), to_images(case.cleans), case.masks.cpu().numpy() > 0, strict=True
    ):
        distance = distance_to(mask[0])
        rings.append(mean_where(change(result, clean), within(distance, params.feather) & ~mask[0]))
        pasted = paste(result, clean, mask[0], params.feather)
        seams.append(seam_contrast(pasted, clean, distance, params.feather))
    inside = ((adapted - plain).abs() * case.masks).sum() / (3 * case.masks.sum())
    return Measured(float(np.mean(rings)), float(np.mean(seams)), float(inside) * 127.5, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    case = painted_case(arguments.workspace, arguments.samples)
    measure(case, AdaptParams(kind="none"))  # warms up
    print(f"{'adaptation':14s}{'ring error':>12s}{'seam':>8s}{'in-mask difference':>20s}{'seconds an image':>18s}")
    results: dict[str, Measured] = {}
    for kind in ("none", "published", "closed_form"):
        found = results[kind] = measure(case, AdaptParams(kind=kind))
        print(f"{kind:14s}{found.ring:12.3f}{found.seam:8.3f}{found.inside:20.3f}{found.seconds:18.3f}")
    times_cheaper = results["published"].seconds / results["closed_form"].seconds
    no_worse = results["closed_form"].seam <= results["published"].seam
    aim = "at least 20 times cheaper with an equal or lower seam"
    print_figure("adaptation", times_cheaper, "times cheaper than published", aim, times_cheaper >= 20 and no_worse)


if __name__ == "__main__":
    main()
