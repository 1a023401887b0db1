"""Killed at instants spread over the whole line and over a publishing: what is there in the end shows no trace of it.

`python -m benchmarks.kill` kills at every instant, and at random ones; here it is a few, in one chain.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import kill_line
from benchmarks.killing import Instant, Zygote, instants_of
from tests.factory_fixtures import hashes

CHOSEN = (
    Instant("open data/inputs/.splits.json.made.json.PID.partial"),
    Instant("os.rename data/models/.codec.safetensors.PID.partial"),
    Instant("os.rename data/models/.denoiser.checkpoint.safetensors.PID.partial"),
    Instant("os.remove data/models/denoiser.checkpoint.safetensors"),
    Instant("open data/models/.fitted.json.PID.partial", torn=True),
    Instant("os.rename data/candidates/mono/.00000.scores.parquet.PID.partial"),
    Instant("os.rename data/candidates/poly/.00001.done.json.PID.partial"),
    Instant("os.rename data/.release.partial"),
)
"""Where a kill is most awkward: between a file and its marker, and in the middle of a swap."""


def test_a_line_that_is_killed_again_and_again_leaves_what_an_undisturbed_one_leaves(
    forks: Zygote, undisturbed: Path, folder: Path
) -> None:
    known = instants_of((undisturbed / "writes.txt").read_text(encoding="utf-8").splitlines())
    for instant in CHOSEN:
        assert instant in known
        attempt = forks.attempt(kill_line.RUN, folder, instant)
        assert attempt.killed, f"{instant}: {attempt.error or 'never came'}"
    last = forks.attempt(kill_line.RUN, folder)
    assert not last.error, last.error
    assert hashes(folder / "data") == hashes(undisturbed / "data")
