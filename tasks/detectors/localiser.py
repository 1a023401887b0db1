"""Tier 2's localiser: a segmentation network trained from scratch on an arm alone.

In: an arm's normal and defective images with masks. Out: a map of log-odds of a defect. The network is DRAEM's
discriminative sub-network (Zavrtanik et al., ICCV 2021) as AnomalyDiffusion (AAAI 2024) uses it to judge generated
data: alone, on the image, with focal loss. There is no reconstruction beside it that could hide bad data. Other than
the published code, the last state is kept, never the best one on the test set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from tasks.contracts import DefectoryError, Image
from tasks.detectors.protocol import Arm, Example, Scored
from tasks.networks.device import HOST, device_of, moved
from tasks.params.detectors import EvaluateParams, LocaliserParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator

_LEVELS = (1, 2, 4, 8, 8, 8)
"""Channels of the six levels, in widths."""
_POOLED = 21 / 256
"""Side of the mean filter whose largest value is the image's score, as a share of the image's side (DRAEM)."""
_DECAYS = (0.8, 0.9)
"""Shares of the steps after which the learning rate falls to a fifth (DRAEM)."""
_BATCH = 8
"""Images scored at once, always so many: a batch's shape may change the last bits of an image's floats."""


class SegmentationUNet(nn.Module):
    """Images (n, 3, height, width) in [0, 1], sides multiples of 32, to logits (n, height, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width * share for share in _LEVELS]
        self.down = nn.ModuleList(_block(below, above) for below, above in zip([3, *sizes], sizes, strict=False))
        pairs = list(pairwise(sizes))[::-1]
        self.rise = nn.ModuleList(_convolution(deep, shallow) for shallow, deep in pairs)
        self.up = nn.ModuleList(_block(2 * shallow, shallow) for shallow, _ in pairs)
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features, skipped = images, []
        for number, block in enumerate(self.down):
            features = block(functional.max_pool2d(features, 2) if number else features)
            skipped.append(features)
        for rise, block, skip in zip(self.rise, self.up, skipped[-2::-1], strict=True):
            raised = rise(functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True))
            features = block(torch.cat([raised, skip], dim=1))
        return self.head(features)[:, 0]


def fit(arm: Arm, params: EvaluateParams, seed: int, device: torch.device, report: Report) -> SegmentationUNet:
    """Train on the arm for `localiser.steps`. Raises DefectoryError where it has no normal or no defective image."""
    wanted = params.localiser
    _check(arm)
    torch.manual_seed(derive(seed, "localiser weights"))
    network = SegmentationUNet(wanted.width).to(memory_format=torch.channels_last)
    network.apply(_initialise).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=wanted.learning_rate)
    milestones = [int(share * wanted.steps) for share in _DECAYS]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.2)
    network.train()
    for step, batch in enumerate(_batches(arm, wanted, seed), start=1):
        images, masks = moved(batch, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=wanted.precision == "bfloat16"):
            logits = network(images)
        # Without alpha this is the focal loss of a softmax over two classes; gamma is 2 in either.
        loss = sigmoid_focal_loss(logits.float(), masks, alpha=-1, gamma=2, reduction="mean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        report(f"localiser on {arm.name}", step, wanted.steps)
    return network.eval()


@torch.inference_mode()
def score(model: SegmentationUNet, images: Sequence[Image]) -> Scored:
    """Log-odds of a defect by pixel; an image's score is the largest value of their local mean."""
    device = device_of(model)
    maps = torch.cat([model(moved(batch, device))[:count] for batch, count in _full_batches(images)])
    window = max(1, round(_POOLED * maps.shape[-1])) // 2 * 2 + 1
    probability = maps.sigmoid()[:, None]
    pooled = functional.avg_pool2d(probability, window, stride=1, padding=window // 2, count_include_pad=False)
    return Scored(maps.to(HOST).numpy(), pooled.amax(dim=(1, 2, 3)).to(HOST).numpy())


def _batches(arm: Arm, params: LocaliserParams, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One batch a step: each image is a defective one with probability `defect_share`, of each type and of each origin
    in equal shares."""
    generator = numpy_generator(derive(seed, "localiser batches"))
    types = _pools(arm.defects)
    for _ in range(params.steps):
        drawn = []
        for _ in range(params.batch_size):
            pool: Sequence[Example] = arm.normals
            if generator.random() < params.defect_share:
                origins = types[int(generator.integers(len(types)))]
                pool = origins[int(generator.integers(len(origins)))]
            drawn.append(pool[int(generator.integers(len(pool)))])
        yield _tensor([example.image for example in drawn]), torch.stack([_mask(example) for example in drawn])


def _pools(defects: Sequence[Example]) -> list[list[list[Example]]]:
    """The examples by defect type and origin."""
    pools: dict[str, dict[str, list[Example]]] = {}
    for example in defects:
        pools.setdefault(example.defect_type, {}).setdefault(example.origin, []).append(example)
    return [[pools[name][origin] for origin in sorted(pools[name])] for name in sorted(pools)]


def _full_batches(images: Sequence[Image]) -> Iterator[tuple[Tensor, int]]:
    for start in range(0, len(images), _BATCH):
        batch = list(images[start : start + _BATCH])
        yield _tensor(batch + batch[-1:] * (_BATCH - len(batch))), len(batch)


def _tensor(images: Sequence[Image]) -> Tensor:
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # already last in memory: channels
    return batch.float() / 255


def _mask(example: Example) -> Tensor:
    shape = example.image.shape[:2]
    return torch.zeros(shape) if example.mask is None else torch.from_numpy(example.mask).float()


def _block(below: int, above: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(below, above), *_convolution(above, above))


def _convolution(below: int, above: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(below, above, 3, padding=1), nn.BatchNorm2d(above), nn.ReLU(inplace=True))


def _initialise(module: nn.Module) -> None:
    """As DRAEM has it."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _check(arm: Arm) -> None:
    if not arm.normals or not arm.defects:
        raise DefectoryError(
            f"arm {arm.name}: a localiser is trained on normal and defective images, got {len(arm.normals)} and "
            f"{len(arm.defects)}; an arm of normal images alone is scored by the memory bank"
        )
    unmasked = [example.example_id for example in arm.defects if example.mask is None]
    if unmasked:
        raise DefectoryError(f"arm {arm.name}: {unmasked[0]} is defective and has no mask; give it a pseudo-mask")
