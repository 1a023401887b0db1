"""SHA256SUMS: what coreutils says of it, and what is said of every file that is not the one that was released."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.contracts import DefectoryError
from tasks.release.checksums import CHECKSUMS, check_files, write_checksums
from tasks.versions.pulled import ReleaseDataset
from tests.tiny_release import write_release

BOLT, NUT = "images/bolt/00000.parquet", "images/nut/00000.parquet"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path, 5, categories=("bolt", "nut"))
    (tmp_path / "README.md").write_text("a card")
    write_checksums(tmp_path)
    return tmp_path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_stranger_can_check_a_release_with_coreutils_alone(release: Path) -> None:
    command = ["sha256sum", "--check", "--strict", CHECKSUMS]
    passed = subprocess.run(command, cwd=release, capture_output=True, text=True)
    assert (passed.returncode, passed.stdout.count(": OK")) == (0, 4)
    flip(release / BOLT, 100)
    failed = subprocess.run(command, cwd=release, capture_output=True, text=True)
    assert failed.returncode == 1
    assert f"{BOLT}: FAILED" in failed.stdout


def test_whole_files_are_vouched_for(release: Path) -> None:
    checked = check_files(release)
    assert checked.problems == ()
    assert checked.whole == {BOLT, NUT, "README.md", "manifest.parquet"}


def test_changed_missing_and_foreign_files_are_named(release: Path) -> None:
    flip(release / "README.md", 0)
    (release / NUT).unlink()
    (release / "images" / "bolt" / "00001.parquet").write_bytes(b"")
    problems = check_files(release).problems
    assert [problem.split(": ")[0] for problem in problems] == ["README.md", "images/bolt/00001.parquet", NUT]
    assert "expected SHA-256" in problems[0]
    assert check_files(release).whole == {BOLT, "manifest.parquet"}


def test_a_damaged_shard_is_named_with_the_samples_that_it_costs(release: Path) -> None:
    content = (release / BOLT).read_bytes()
    flip(release / BOLT, content.index(b"\x89PNG") + 40)
    damaged = list(ReleaseDataset(release).damaged())
    assert damaged[0].startswith(f"{BOLT}: expected SHA-256")
    assert len(damaged) > 1
    assert all(line.startswith(f"{BOLT}: ") for line in damaged)


def test_without_checksums_every_sample_is_looked_at(release: Path) -> None:
    (release / CHECKSUMS).unlink()
    assert check_files(release).whole == frozenset()
    assert list(ReleaseDataset(release).damaged()) == []
    flip(release / BOLT, (release / BOLT).read_bytes().index(b"\x89PNG") + 40)
    assert len(list(ReleaseDataset(release).damaged())) > 0


@pytest.mark.parametrize("line", ["no hash", "0" * 64 + " one_blank_only"])
def test_a_line_that_is_no_checksum_is_named(release: Path, line: str) -> None:
    with (release / CHECKSUMS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DefectoryError, match="line 5 is no SHA-256"):
        check_files(release)


def test_names_never_lead_out_of_the_folder(release: Path) -> None:
    with (release / CHECKSUMS).open("a") as file:
        file.write("0" * 64 + "  ../elsewhere\n")
    with pytest.raises(DefectoryError, match="leads out of its folder"):
        check_files(release)
