"""KID and FID are what their formulas say, on features and on real photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tasks.contracts import DefectoryError, Image
from tasks.quality import distribution
from tasks.quality.distribution import fid, fid_name, fid_of, kid, kid_name, kid_of, network_features


def crops(picture: str, count: int, seed: int) -> list[Image]:
    whole = getattr(data, picture)()
    corners = np.random.default_rng(seed).integers(0, 512 - 64, (count, 2))
    return [np.repeat(whole[row : row + 64, column : column + 64, None], 3, axis=2) for row, column in corners]


def unbiased(first: np.ndarray, second: np.ndarray) -> float:
    """The definition, pair by pair: mean kernel within each side without the diagonal, less twice that between."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j])
        for side in (first, second)
    ]
    return float(within[0] + within[1] - 2 * np.mean([kernel(x, y) for x in first for y in second]))


def test_kid_is_the_unbiased_mmd() -> None:
    """Over many subsets of half the rows the mean comes to that of all rows: the estimate does not depend on size."""
    generator = np.random.default_rng(0)
    real, generated = generator.normal(size=(12, 5)), generator.normal(0.7, 1.3, size=(12, 5))
    expected = unbiased(generated, real)
    mean, deviation = kid_of(generated, real, seed=0, subsets=3000)
    assert mean == pytest.approx(expected, abs=5 * deviation / 3000**0.5)
    assert abs(mean - expected) < 0.1 * expected


def test_kid_of_one_distribution_is_about_zero_and_its_seed_is_its_own() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 6)).astype(np.float32)
    state = torch.random.get_rng_state()
    mean, deviation = kid_of(rows[:100], rows[100:], seed=0)
    assert abs(mean) < 2 * deviation
    assert kid_of(rows[:100] + 1, rows[100:], seed=0)[0] > mean + 5 * deviation
    assert kid_of(rows[:100], rows[100:], seed=0) == (mean, deviation)
    assert kid_of(rows[:100], rows[100:], seed=1) != (mean, deviation)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_fid_is_its_closed_form() -> None:
    """For independent features S1 S2 is diagonal: (m1 - m2)^2 + (s1 - s2)^2, summed over the features."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(500, 3))
    rows = (rows - rows.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    scales, shifts = np.array([2.0, 0.5, 1.0]), np.array([1.0, 0.0, -3.0])
    expected = (shifts**2).sum() + ((scales - 1) ** 2).sum()
    assert fid_of(rows * scales + shifts, rows) == pytest.approx(expected, rel=1e-6)
    assert fid_of(rows, rows) == pytest.approx(0, abs=1e-6)


def test_too_few_images_are_refused_with_the_reason() -> None:
    rows = np.zeros((3, 8))
    with pytest.raises(DefectoryError, match=r"KID wants four images.*3 generated and 8 real"):
        kid_of(rows, np.zeros((8, 8)), 0)
    with pytest.raises(DefectoryError, match=r"FID of 8 features.*7 generated and 9 real.*use KID"):
        fid_of(np.zeros((7, 8)), np.zeros((9, 8)))
    with pytest.raises(DefectoryError, match=r"FID of 1280 features"):
        fid(crops("gravel", 2, 0), crops("gravel", 2, 1), "efficientnet_lite0")


def test_photographs_of_one_texture_are_nearer_than_those_of_another() -> None:
    gravel, more, grass = crops("gravel", 10, 0), crops("gravel", 10, 1), crops("grass", 10, 2)
    near, deviation = kid(more, gravel, "efficientnet_lite0", seed=0)
    far, _ = kid(grass, gravel, "efficientnet_lite0", seed=0)
    assert far > max(near, 0) + 5 * deviation


def test_features_are_those_before_the_classes_and_do_not_depend_on_companions() -> None:
    images = crops("gravel", 3, 0)
    together = network_features(images, "efficientnet_lite0")
    assert together.shape == (3, 1280)
    assert np.array_equal(together[1:2], network_features(images[1:2], "efficientnet_lite0"))


def test_names_say_the_network_and_an_unknown_one_is_refused() -> None:
    assert kid_name("efficientnet_lite0") == "kid_efficientnet_lite0"
    assert fid_name("inception_v3") == "fid_inception_v3"
    with pytest.raises(DefectoryError, match=r"no network 'vgg'.*efficientnet_lite0, inception_v3"):
        network_features([], "vgg")


def test_inception_gives_the_features_below_its_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as untrained:
        untrained.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        untrained.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        saved = FeatureExtractorInceptionV3("untrained", ["2048"])
    torch.save(saved.state_dict(), tmp_path / "inception.pth")
    distribution._trunk.cache_clear()
    monkeypatch.setenv("DEFECTORY_INCEPTION_WEIGHTS", str(tmp_path / "absent.pth"))
    with pytest.raises(DefectoryError, match=r"absent\.pth"):
        network_features(crops("gravel", 1, 0), "inception_v3")
    monkeypatch.setenv("DEFECTORY_INCEPTION_WEIGHTS", str(tmp_path / "inception.pth"))
    image = crops("gravel", 1, 0)[0]
    with torch.inference_mode():
        expected = saved(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    assert network_features([image], "inception_v3") == pytest.approx(expected.numpy())
    assert expected.shape == (1, 2048)
    distribution._trunk.cache_clear()
