"""A folder of photographs that somebody means ill with: what is planted is skipped by name, and the rest is read."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.inputs import fingerprint_of_sources
from tasks.contracts import SkippedInput
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import read_inputs
from tasks.inputs.normalise import read_photograph
from tasks.inputs.readers import list_source
from tasks.params import Params, SourceParams
from tasks.release.build import build_release
from tests.factories import make_params, make_workspace
from tests.inputs.helpers import mask_of, mvtec_source, mvtec_tree, params_of, photograph, save

OUTSIDE = "leads outside the source's root"
NO_FILE = "not a regular file"
BAD_NAME = "its name holds control characters"
TAG = "<img src=x onerror=alert(1)>"


def header_of(width: int, height: int) -> bytes:
    """A PNG that begins like one of this size and has no pixels."""
    chunks = b""
    for kind, content in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")):
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return b"\x89PNG\r\n\x1a\n" + chunks


def plant(root: Path) -> dict[str, str]:
    """Attacks of every kind beside the good files: the name that the ledger gives each, and a part of the reason."""
    good, secret = root / "train/good", save(photograph(9), root.parent / "secret/one.png")
    (good / "link.png").symlink_to(secret)
    (good / "zero.png").symlink_to("/dev/zero")
    (good / "loop.png").symlink_to(good / "loop.png")
    (good / "gone.png").symlink_to(good / "nothing")
    (good / "folder.png").mkdir()
    os.mkfifo(good / "pipe.png")
    (good / "bomb.png").write_bytes(header_of(100_000, 100_000))
    (good / "large.png").write_bytes(header_of(2_000, 2_000))
    with (good / "sparse.png").open("wb") as file:
        file.write(header_of(64, 64))
        file.truncate(1 << 40)
    with zipfile.ZipFile(good / "zip.png", "w") as archive:
        archive.writestr("x", "x")
    (good / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    save(photograph(10), good / "two\nlines.png")
    save(photograph(11), good / "\x1b[2Jclear.png")
    save(photograph(12), good / os.fsdecode(b"latin-\xe9.png"))
    (good / f"{TAG}.png").write_bytes(b"no image")
    for name in ("piped", "foldered", "linked", "lost"):
        save(photograph(len(name)), root / f"test/hole/{name}.png")
    os.mkfifo(root / "ground_truth/hole/piped_mask.png")
    (root / "ground_truth/hole/foldered_mask.png").mkdir()
    (root / "ground_truth/hole/linked_mask.png").symlink_to("/dev/zero")
    (root / "ground_truth/hole/lost_mask.png").symlink_to("nothing")
    return {
        "train/good/link.png": OUTSIDE,
        "train/good/zero.png": OUTSIDE,
        "train/good/loop.png": "symbolic links",
        "train/good/gone.png": "No such file",
        "train/good/folder.png": NO_FILE,
        "train/good/pipe.png": NO_FILE,
        "train/good/bomb.png": "more pixels than the image library opens",
        "train/good/large.png": "2000 x 2000 pixels are more than inputs.max_pixels",
        "train/good/sparse.png": "more than 2 GiB",
        "train/good/zip.png": "not an image",
        "train/good/script.png": "not an image",
        "train/good/two\\nlines.png": BAD_NAME,
        "train/good/\\x1b[2Jclear.png": BAD_NAME,
        "train/good/latin-\\udce9.png": BAD_NAME,
        f"train/good/{TAG}.png": "not an image",
        "test/hole/piped.png": f"its mask: {NO_FILE}",
        "test/hole/foldered.png": f"its mask: {NO_FILE}",
        "test/hole/linked.png": OUTSIDE,
        "test/hole/lost.png": "its mask: damaged or unreadable: No such file",
    }


@pytest.fixture
def attacked(tmp_path: Path) -> tuple[Params, dict[str, str]]:
    root = mvtec_tree(tmp_path / "disc")
    return params_of(mvtec_source(root)), plant(root)


def test_every_attack_is_skipped_by_name_and_the_good_files_are_read(
    attacked: tuple[Params, dict[str, str]], tmp_path: Path
) -> None:
    params, planted = attacked
    report = build_inputs(params, tmp_path, tmp_path / "out")
    reasons = {skip.path: skip.reason for skip in report.skipped}
    assert reasons.keys() == planted.keys()
    assert [path for path, part in planted.items() if part not in reasons[path]] == []
    inputs = read_inputs(tmp_path / "out")
    assert len(inputs.images) == 6 + 2 + 4
    assert set(inputs.skipped) == set(report.skipped)
    assert fingerprint_of_sources(params, tmp_path) == fingerprint_of_sources(params, tmp_path), "it hung, or changed"


def test_the_ledger_has_every_attack_and_the_report_shows_it_as_text(tmp_path: Path) -> None:
    planted = plant(mvtec_tree(tmp_path / "disc"))
    skipped = tuple(SkippedInput(path, "mvtec:<b>disc", f"<script>{reason}") for path, reason in planted.items())
    made = make_workspace(tmp_path / "made", make_params(64, samples=2, shard_size=2))
    inputs = replace(made.inputs, skipped=skipped)
    build_release(made.params, inputs, made.plans, made.candidates, made.release, "defectory run")
    errors = pq.read_table(made.release / "ledger.parquet", columns=["error"])["error"].to_pylist()
    assert {f"{skip.source}: {skip.path}: {skip.reason}" for skip in skipped} <= set(errors)
    page = _Page((made.release / "report.html").read_text(encoding="utf-8"))
    assert set(planted) <= set(page.texts), "every name stands there as it is"
    assert "script" not in page.tags
    assert not page.attributes & {"onerror", "onload"}


class _Page(HTMLParser):
    """The tags, attributes and texts that a browser would see."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_nothing_that_hides_behind_the_pixels_of_a_polyglot_goes_on(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    path = root / "train/good/000.png"
    before = read_photograph(path, 10_000)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("payload", "MALICIOUS-PAYLOAD")
    assert zipfile.is_zipfile(path)
    np.testing.assert_array_equal(read_photograph(path, 10_000), before)
    build_inputs(params_of(mvtec_source(root)), tmp_path, tmp_path / "out")
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert b"payload" not in written.lower()
    rows = pq.read_table(tmp_path / "out/disc.parquet", columns=["image"])["image"].to_pylist()
    assert all(b"MALICIOUS" not in row for row in rows)


@pytest.mark.parametrize("pattern", ["/etc/{stem}", "../{stem}_mask.png", "ground_truth/../../{stem}_mask.png"])
def test_a_mask_pattern_does_not_leave_the_root(tmp_path: Path, pattern: str) -> None:
    root = tmp_path / "disc"
    save(photograph(1), root / "good/0.png")
    save(photograph(2), root / "bad/hosts.png")
    save(mask_of(), tmp_path / "hosts_mask.png")
    (root / "ground_truth").mkdir()
    source = SourceParams(
        kind="folder",
        root=str(root),
        category="disc",
        clean=["good/*"],
        defects={"hole": ["bad/*"]},
        masks={"hole": pattern},
    )
    listing = list_source(source, Path())
    assert [(skip.path, OUTSIDE in skip.reason) for skip in listing.skipped] == [("bad/hosts.png", True)]


def test_a_stem_of_dots_does_not_leave_the_root(tmp_path: Path) -> None:
    root = tmp_path / "set/disc"
    save(photograph(1), root / "good/0.png")
    save(photograph(2), root / "bad/x.png").rename(root / "bad/...png")
    assert PurePosixPath("bad/...png").stem == ".."
    save(mask_of(), tmp_path / "set/mask.png")
    source = SourceParams(
        kind="folder",
        root=str(root),
        category="disc",
        clean=["good/*"],
        defects={"hole": ["bad/*"]},
        masks={"hole": "{stem}/mask.png"},
    )
    assert OUTSIDE in list_source(source, Path()).skipped[0].reason
