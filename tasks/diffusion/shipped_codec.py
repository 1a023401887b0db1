"""The recipe of the codec that ships with the project: `python -m tasks.diffusion.shipped_codec OUT [STEPS]`.

Trained on photographs that scikit-image ships as public domain or CC0 and on procedural images, so the
weights carry no licence but the project's own, Apache-2.0. Two cores, about 0.4 s a step.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from skimage import color, data, transform

from tasks.contracts import Image
from tasks.diffusion.codec import EmbeddedCodec, save_codec
from tasks.diffusion.codec_training import CodecRecipe, crop_batches, train_codec
from tasks.diffusion.latents import to_tensor
from tasks.networks.device import choose_device
from tasks.seeds import derive, numpy_generator, torch_generator
from tasks.training.procedural import procedural_image

SEED = 1
PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "moon", "rocket")
_PROCEDURAL_IMAGES = 600
_SIZE = 256


def photographs() -> list[Image]:
    """Each photograph at three scales and with random exposure, so that few give many statistics."""
    generator = numpy_generator(derive(SEED, "photographs"))
    images = []
    for name in PHOTOGRAPHS:
        original = getattr(data, name)()
        rgb = color.gray2rgb(original) if original.ndim == 2 else original[..., :3]
        for scale in (1.0, 0.7, 0.5):
            shape = (max(_SIZE, int(rgb.shape[0] * scale)), max(_SIZE, int(rgb.shape[1] * scale)))
            image = transform.resize(rgb, shape, anti_aliasing=True) * generator.uniform(0.5, 1.1)
            images.append((np.clip(image, 0, 1) * 255).astype(np.uint8))
    return images


def train_shipped(out: Path, steps: int, device: torch.device) -> None:
    """Train from nothing and write the weights with their recipe, training data and licence as metadata."""
    torch.manual_seed(SEED)
    codec = EmbeddedCodec().to(device)
    generator = numpy_generator(derive(SEED, "procedural"))
    made = [procedural_image(_SIZE, generator) for _ in range(_PROCEDURAL_IMAGES)]
    # A photograph's crop comes up as often as a procedural one: there are few of the former.
    images = made + photographs() * (_PROCEDURAL_IMAGES // (3 * len(PHOTOGRAPHS)))
    batches = crop_batches(images, 128, 12, numpy_generator(derive(SEED, "crops")))
    log = logging.getLogger(__name__)
    losses: list[float] = []

    def report(step: int, total: int) -> None:
        if step % 100 == 0:
            log.info("step %d of %d", step, total)

    recipe = CodecRecipe(steps, learning_rate=1.5e-3, lpips_weight=0.3)
    losses = train_codec(codec, batches, recipe, torch_generator(derive(SEED, "noise")), report)
    codec.normalise_latents(to_tensor(made[i : i + 20], device) for i in range(0, 200, 20))
    save_codec(
        codec,
        out,
        {
            "recipe": f"python -m tasks.diffusion.shipped_codec; {steps} steps, seed {SEED}",
            "training_data": "scikit-image photographs (CC0 or public domain): "
            + ", ".join(PHOTOGRAPHS)
            + f"; {_PROCEDURAL_IMAGES} procedural images (tasks/training/procedural.py)",
            "license": "Apache-2.0",
            "final_loss": f"{np.mean(losses[-100:]):.4f}",
        },
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train_shipped(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 6000, choose_device())
