"""The Inception score against cases worked by hand and torch-fidelity's formula, and its networks."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from skimage import data
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_isc import isc_features_to_metric

from tasks.contracts import DefectoryError
from tasks.networks.classifiers import confidence_and_entropy, load_classifier
from tasks.quality.inception_score import InceptionScore, inception_score, predictions_of, score_name
from tasks.seeds import numpy_generator

COFFEE_CUP, ESPRESSO = 968, 967


def test_uniform_probabilities_score_one() -> None:
    assert inception_score(np.zeros((50, 1000), np.float16), splits=5, seed=1) == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize("classes", [2, 7])
def test_certain_and_equally_frequent_classes_score_their_number(classes: int) -> None:
    logits = np.tile(100 * np.eye(classes, 1000), (6, 1))
    assert inception_score(logits, splits=1, seed=1)[0] == pytest.approx(classes)


def test_follows_torch_fidelity() -> None:
    logits = np.random.default_rng(8).normal(0, 3, (103, 40))
    order = numpy_generator(4).permutation(103)
    reference = isc_features_to_metric(torch.from_numpy(logits[order]), splits=4, shuffle=False)
    expected = reference["inception_score_mean"], reference["inception_score_std"]
    assert inception_score(logits, splits=4, seed=4) == pytest.approx(expected, rel=1e-9)


def test_the_seed_deals_the_images_to_the_splits() -> None:
    logits = np.random.default_rng(8).normal(0, 3, (60, 10))
    assert inception_score(logits, 6, seed=1) == inception_score(logits, 6, seed=1)
    assert inception_score(logits, 6, seed=1) != inception_score(logits, 6, seed=2)


def all_at_once(logits: np.ndarray, splits: int, seed: int) -> tuple[float, float]:
    """The score by its formula, with every logit in memory."""
    order = numpy_generator(seed).permutation(len(logits))
    bounds = [number * len(logits) // splits for number in range(splits + 1)]
    scores = []
    for start, stop in pairwise(bounds):
        given = softmax(logits[order[start:stop]].astype(np.float64), axis=1)
        scores.append(np.exp(rel_entr(given, given.mean(axis=0)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


@pytest.mark.parametrize("block", [1, 7, 64, 103, 500])
def test_the_score_of_a_stream_is_that_of_all_logits_for_any_size_of_block(block: int) -> None:
    logits = np.random.default_rng(8).normal(0, 30, (103, 40)).astype(np.float16)
    score = InceptionScore(103, splits=4, seed=4)
    for start in range(0, 103, block):
        score.add(predictions_of(logits[start : start + block]))
    assert score.result() == pytest.approx(all_at_once(logits, 4, 4), rel=1e-9, abs=1e-9)


def test_a_stream_of_too_few_or_too_many_images_has_no_score() -> None:
    score = InceptionScore(3, splits=1, seed=0)
    score.add(predictions_of(np.zeros((2, 10))))
    with pytest.raises(DefectoryError, match="of 3 images was given 2"):
        score.result()
    with pytest.raises(DefectoryError, match="of 3 images was given 4"):
        score.add(predictions_of(np.zeros((2, 10))))


def test_more_splits_than_images_is_an_error_that_says_both() -> None:
    with pytest.raises(DefectoryError, match="3 images for 10 splits"):
        inception_score(np.zeros((3, 10)), splits=10, seed=0)


def test_confidence_and_entropy_of_known_distributions() -> None:
    logits = np.array([[0.0] * 8, [90.0] + [0.0] * 7, np.log([0.5, 0.5, *[1e-30] * 6])])
    confidence, entropy = confidence_and_entropy(logits)
    assert confidence == pytest.approx([1 / 8, 1, 0.5])
    assert entropy == pytest.approx([np.log(8), 0, np.log(2)], abs=1e-6)


def test_efficientnet_lite0_knows_a_cat_and_a_cup() -> None:
    pictures = [data.coffee(), data.chelsea()]
    network = load_classifier("efficientnet_lite0")
    with torch.inference_mode():
        coffee, cat = (network(torch.from_numpy(p.copy()).permute(2, 0, 1)[None])[0] for p in pictures)
    assert coffee.shape == (1000,)
    assert int(coffee.argmax()) in (ESPRESSO, COFFEE_CUP)
    assert 281 <= int(cat.argmax()) <= 285


def test_scores_are_named_by_their_network() -> None:
    assert score_name("efficientnet_lite0") == "is_efficientnet_lite0"


def test_missing_inception_weights_are_named_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEFECTORY_INCEPTION_WEIGHTS", str(tmp_path / "absent.pth"))
    with pytest.raises(DefectoryError, match=r"absent\.pth.*DEFECTORY_INCEPTION_WEIGHTS.*efficientnet_lite0"):
        load_classifier("inception_v3")


def test_inception_weights_that_would_run_code_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "attack.pth").write_bytes(pickle.dumps(Attack(), protocol=2))
    torch.save({"fc.bias": Attack()}, tmp_path / "zipped.pth")
    for name in ("attack.pth", "zipped.pth"):
        monkeypatch.setenv("DEFECTORY_INCEPTION_WEIGHTS", str(tmp_path / name))
        with pytest.raises(DefectoryError, match="not a file of plain weights"):
            load_classifier("inception_v3")
    assert not (tmp_path / "ran").exists()


def test_inception_v3_is_read_from_a_weight_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as untrained:
        untrained.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        untrained.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        saved = FeatureExtractorInceptionV3("untrained", ["logits_unbiased"])
    torch.save(saved.state_dict(), tmp_path / "inception.pth")
    monkeypatch.setenv("DEFECTORY_INCEPTION_WEIGHTS", str(tmp_path / "inception.pth"))
    images = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = load_classifier("inception_v3")(images)
        assert logits.shape == (1, 1008)
        assert torch.equal(logits, saved(images)[0])
