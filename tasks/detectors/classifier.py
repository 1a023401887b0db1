"""Tier 2's classifier: which type a defect is, learned from an arm alone.

In: an arm's defective images. Out: the type of each test image. AnomalyDiffusion (AAAI 2024) fine-tunes a ResNet-34
that was trained on ImageNet; here the network is EfficientNet-Lite0, whose ImageNet weights are a package. So figures
are of `CLASSIFIER_NETWORK` and not to be set beside published ones. The last state is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tasks.contracts import DefectoryError, Image
from tasks.detectors.protocol import Arm
from tasks.networks.device import HOST, device_of, moved
from tasks.networks.weights import efficientnet_lite0
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator

CLASSIFIER_NETWORK = "efficientnet_lite0"
_BATCH = 8


@dataclass(frozen=True)
class Model:
    network: nn.Module
    types: tuple[str, ...]


def fit(arm: Arm, params: EvaluateParams, seed: int, device: torch.device, report: Report) -> Model:
    """Fine-tune all layers for `classifier.steps`, types in equal shares. Raises DefectoryError for fewer than two."""
    wanted = params.classifier
    types = tuple(sorted({example.defect_type for example in arm.defects}))
    if len(types) < 2:
        raise DefectoryError(f"arm {arm.name}: types are told apart where there are two or more, got {list(types)}")
    pools = [[example.image for example in arm.defects if example.defect_type == name] for name in types]
    generator = numpy_generator(derive(seed, "classifier batches"))
    torch.manual_seed(derive(seed, "classifier weights"))
    network = efficientnet_lite0().requires_grad_(True)
    features = network.get_submodule("_fc").get_parameter("weight").shape[1]
    network._fc = nn.Linear(features, len(types))
    network.train().to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=wanted.learning_rate)
    for step in range(1, wanted.steps + 1):
        labels = generator.integers(len(types), size=wanted.batch_size)
        images = [pools[label][generator.integers(len(pools[label]))] for label in labels]
        batch, truth = moved((_tensor(images), torch.from_numpy(labels)), device)
        with _DrawnOnHost():
            loss = functional.cross_entropy(network(batch), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        report(f"classifier on {arm.name}", step, wanted.steps)
    return Model(network.eval(), types)


@torch.inference_mode()
def predict(model: Model, images: Sequence[Image]) -> list[str]:
    """The most likely type of each image, which does not depend on the images beside it."""
    device = device_of(model.network)
    found: list[str] = []
    for start in range(0, len(images), _BATCH):
        batch = list(images[start : start + _BATCH])
        filled = _tensor(batch + batch[-1:] * (_BATCH - len(batch)))
        logits = model.network(moved(filled, device))[: len(batch)]
        found += [model.types[label] for label in logits.argmax(dim=1).tolist()]
    return found


class _DrawnOnHost(TorchFunctionMode):
    """While it lasts, what `torch.rand` draws is drawn on the host and moved.

    The network asks for it where its images are, to leave blocks out at random.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(options or {})
        if function is not torch.rand:
            return function(*arguments, **given)
        device = given.pop("device", HOST)
        return moved(torch.rand(*arguments, **given, device=HOST), device)


def _tensor(images: Sequence[Image]) -> Tensor:
    """With levels as the network was trained: (level - 127) / 128."""
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().contiguous() - 127) / 128
