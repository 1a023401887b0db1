"""A disk that fills up, and files that rot on it: both are named, and the next run makes good what is damaged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import kill_line
from benchmarks.killing import Zygote
from flows.release import release
from flows.versions.verbs import verify_here
from tasks.contracts import DefectoryError
from tasks.files.tensors import write_safetensors
from tests.factory_fixtures import hashes


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_verify_names_every_damaged_shard_and_run_makes_them_again(
    forks: Zygote, undisturbed: Path, finished: Path
) -> None:
    candidates = finished / "data" / "candidates"
    flip_a_bit(candidates / "mono" / "00000.parquet")
    flip_a_bit(candidates / "mono" / "00001.scores.parquet")
    cut(candidates / "poly" / "00000.done.json")
    (candidates / "poly" / "00001.parquet").unlink()
    flip_a_bit(finished / "data" / "release" / "images" / "mono" / "00000.parquet")
    flip_a_bit(finished / "data" / "release" / "manifest.parquet")
    flip_a_bit(finished / "data" / "models" / "codec.safetensors")
    with pytest.raises(DefectoryError) as named:
        verify_here(finished / "params.yaml", finished / "data")
    listed = [line.split(":")[0].strip() for line in str(named.value).splitlines()[1:]]
    assert listed == ["mono/00000", "mono/00001", "poly/00000", "poly/00001"]
    assert "defectory run" in str(named.value)
    attempt = forks.attempt(kill_line.RUN, finished)
    assert not attempt.error, attempt.error
    assert hashes(finished / "data") == hashes(undisturbed / "data")
    verify_here(finished / "params.yaml", finished / "data")


def test_damaged_scores_never_reach_a_release(server: str, finished: Path) -> None:
    before = hashes(finished / "data" / "release")
    scores = finished / "data" / "candidates" / "mono" / "00001.scores.parquet"
    data = bytearray(scores.read_bytes())
    data[-20] ^= 1  # of the footer's text: Parquet itself notices nothing
    scores.write_bytes(data)
    with pytest.raises(DefectoryError, match=r"scores of 1 of 4 shards are damaged \(mono/00001\).*defectory verify"):
        release(finished / "params.yaml", finished / "data")
    assert hashes(finished / "data" / "release") == before


def test_a_damaged_release_is_named_by_sample_and_shard(finished: Path) -> None:
    flip_a_bit(finished / "data" / "release" / "images" / "poly" / "00001.parquet")
    with pytest.raises(DefectoryError, match=r"images/poly/00001\.parquet"):
        verify_here(finished / "params.yaml", finished / "data")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_run_on_a_disk_that_is_full_again_and_again_ends_in_the_same_bytes(
    forks: Zygote, undisturbed: Path, folder: Path, small_disk: Path
) -> None:
    workspace = Path(shutil.move(folder, small_disk.parent / "elsewhere"))
    for size in (200, 400, 4000, 5000):
        subprocess.run(["mount", "-o", f"remount,size={size}k", small_disk], check=True)
        if size == 200:
            shutil.copytree(workspace, small_disk / "workspace")
        error = forks.attempt(kill_line.RUN, small_disk / "workspace").error.splitlines()[-1]
        assert "DefectoryError" in error, error
        assert str(small_disk) in error
        assert "no disk space left; free some" in error
    subprocess.run(["mount", "-o", "remount,size=1g", small_disk], check=True)
    attempt = forks.attempt(kill_line.RUN, small_disk / "workspace")
    assert not attempt.error, attempt.error
    assert hashes(small_disk / "workspace" / "data") == hashes(undisturbed / "data")


def test_weights_that_do_not_fit_are_an_error_with_the_files_name(small_disk: Path) -> None:
    with pytest.raises(DefectoryError, match=r"net\.safetensors: no disk space left; free some"):
        write_safetensors(small_disk / "net.safetensors", {"weights": torch.zeros(100_000)})
    assert list(small_disk.iterdir()) == []
