from pathlib import Path

import numpy as np
import pytest

from tasks.candidates.files import SCORES, shard_files
from tasks.candidates.read import done_shards, read_candidate_pictures, read_logits, read_rows, read_scores
from tasks.contracts import DefectoryError
from tasks.files.hashing import sha256
from tasks.files.pictures import decode_image, decode_mask
from tests.factories import Workspace, make_candidate, make_params, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    params = make_params(64, samples=5, shard_size=3)
    return make_workspace(tmp_path_factory.mktemp("work"), params, failed=frozenset({"poly-000001"}))


def test_scores_have_one_row_a_planned_sample_and_what_was_written(workspace: Workspace) -> None:
    scores = read_scores(workspace.candidates)
    planned = [spec for plan in workspace.plans for spec in plan.specs]
    assert list(scores["sample_id"]) == [spec.sample_id for spec in planned]
    assert list(scores["shard"])[:4] == ["mono/00000"] * 3 + ["mono/00001"]
    for spec, row in zip(planned, scores.to_dict("records"), strict=True):
        assert (row["index"], row["seed"], row["strength"]) == (spec.index, spec.seed, spec.strength)
        if spec.sample_id == "poly-000001":
            assert row["error"].startswith("masks: no place")
            assert row["model_sha256"] is None or row["model_sha256"] != row["model_sha256"]
            continue
        candidate = make_candidate(spec, workspace.params, workspace.inputs)
        assert {name: row[name] for name in SCORES} == candidate.scores
        np.testing.assert_array_equal(row["descriptor"], candidate.descriptor)
    assert "logits" not in scores


def test_rows_bring_the_pictures_asked_for_and_the_hashes_are_of_their_bytes(workspace: Workspace) -> None:
    plan = workspace.plans[0]
    wanted = plan.specs[2]
    (row,) = read_rows(workspace.candidates, plan, [wanted.sample_id, "nobody"]).to_pylist()
    candidate = make_candidate(wanted, workspace.params, workspace.inputs)
    np.testing.assert_array_equal(decode_image(row["image"]), candidate.image)
    np.testing.assert_array_equal(decode_mask(row["mask"]), candidate.mask)
    np.testing.assert_array_equal(decode_mask(row["effective_mask"]), candidate.effective_mask)
    scored = read_scores(workspace.candidates, [plan]).set_index("sample_id").loc[wanted.sample_id]
    for name in ("image", "mask", "effective_mask"):
        assert scored[f"{name}_sha256"] == sha256(row[name])


def test_logits_are_those_of_the_samples_asked_for(workspace: Workspace) -> None:
    scores = read_scores(workspace.candidates)
    chosen = scores[scores["sample_id"].isin(["mono-000004", "poly-000000"])]
    specs = {spec.sample_id: spec for plan in workspace.plans for spec in plan.specs}
    expected = [make_candidate(specs[name], workspace.params, workspace.inputs).logits for name in chosen["sample_id"]]
    np.testing.assert_array_equal(read_logits(workspace.candidates, chosen), expected)


def test_only_finished_shards_are_found(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, make_params(64, samples=2, shard_size=1))
    shard_files(workspace.candidates, workspace.plans[0]).marker.unlink()
    assert done_shards(workspace.candidates) == ["mono/00001", "poly/00000", "poly/00001"]


def test_nothing_to_read_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match="no finished shard"):
        read_scores(tmp_path)
    workspace = make_workspace(tmp_path, make_params(64, samples=1, shard_size=1))
    files = shard_files(workspace.candidates, workspace.plans[0])
    files.scores.write_bytes(b"rubbish")
    with pytest.raises(DefectoryError, match=r"00000\.scores\.parquet: cannot be read.*verify"):
        read_scores(workspace.candidates)


def test_pictures_of_samples_of_several_shards_are_found_by_name(workspace: Workspace) -> None:
    scores = read_scores(workspace.candidates).set_index("sample_id", drop=False)
    wanted = scores.loc[["mono-000004", "poly-000000"]].reset_index(drop=True)
    pictures = read_candidate_pictures(workspace.candidates, wanted)
    assert set(pictures) == {"mono-000004", "poly-000000"}
    for name, row in pictures.items():
        assert sha256(row["image"]) == scores.loc[name, "image_sha256"]
