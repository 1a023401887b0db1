"""LPIPS against its reference implementation, on real photographs."""

from __future__ import annotations

import io
import pickle
import warnings

import pytest
import torch
from skimage import data
from torch import Tensor

from tasks.contracts import DefectoryError
from tasks.networks.lpips import LPIPS, lpips_distance
from tasks.networks.weights import _NumpyUnpickler, alexnet_lpips_weights


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    images = [data.astronaut()[:256, :256], data.coffee()[:256, :256], data.chelsea()[:256, :256]]
    return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images]).float() / 127.5 - 1


def test_agrees_with_the_reference_package(photographs: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lpips

        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    weights = alexnet_lpips_weights()
    for number, convolutions in enumerate((0, 3, 6, 8, 10), start=1):
        slice_ = getattr(reference.net, f"slice{number}")
        layer = getattr(slice_, str(convolutions))
        layer.load_state_dict({name: weights[f"features.{convolutions}.{name}"] for name in ("weight", "bias")})
    others = photographs.roll(1, dims=0)
    with torch.no_grad():
        expected = reference(photographs, others).flatten()
        actual = LPIPS()(photographs, others)
    assert torch.allclose(actual, expected, atol=1e-5)
    assert (actual > 0.3).all()


def test_distance_from_features_equals_forward_and_is_zero_on_itself(photographs: Tensor) -> None:
    network = LPIPS()
    features = network.features(photographs)
    assert torch.equal(lpips_distance(features, features), torch.zeros(3))
    others = photographs.flip(0)
    assert torch.equal(lpips_distance(features, network.features(others)), network(photographs, others))


def test_spatial_map_points_at_the_change(photographs: Tensor) -> None:
    changed = photographs.clone()
    changed[:, :, 100:140, 60:100] *= -1
    spatial = LPIPS().spatial(photographs, changed)
    assert spatial.shape == (3, 256, 256)
    inside, far = spatial[:, 100:140, 60:100].mean(dim=(1, 2)), spatial[:, 200:, 180:].mean(dim=(1, 2))
    assert (inside > 20 * far).all()


def test_a_weight_file_that_would_run_code_is_refused() -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("never",))

    with pytest.raises(DefectoryError, match=r"builtins\.print"):
        _NumpyUnpickler(io.BytesIO(pickle.dumps(Attack()))).load()
