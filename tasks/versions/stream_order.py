"""In what order a stream gives its samples, and to whom: a function of the seed, the epoch and the shares alone.

In: rows of a manifest and the chunk that each lies in. Out: windows of rows. A chunk is read at once; a window is
held and mixed. Why not shuffle all: a sample would cost a request. Why nothing about what was given already: a
stopped training then goes on in the order it would have had.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.seeds import derive, numpy_generator

Positions = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
"""Positions in a manifest, (n,)."""


def epoch_order(rows: Positions, chunks: Positions, seed: int | None, epoch: int) -> Positions:
    """`rows` by chunk, the chunks shuffled; as they are without a seed. `chunks[row]` is the chunk of a row."""
    if seed is None:
        return rows
    place = numpy_generator(derive(seed, f"chunks {epoch}")).permutation(int(chunks.max()) + 1)
    return rows[np.argsort(place[chunks[rows]], kind="stable")]


def share_of_rows(rows: Positions, number: int, of: int) -> Positions:
    """The part `number` of `of` parts, which differ in length by one at most and keep the order."""
    return rows[number * len(rows) // of : (number + 1) * len(rows) // of]


def part_of_worker(rows: Positions, seen: np.ndarray, worker: int, workers: int) -> Positions:
    """The share of a DataLoader's worker, such that an epoch taken up again goes on with the part that is next.

    A loader asks its workers in turn, from the first on. Where it was stopped in the midst of a turn, the next batch
    was to come from the first part of which fewer samples were seen than of part 0: that part goes to worker 0.
    """
    counts = [int(seen[share_of_rows(rows, number, workers)].sum()) for number in range(workers)]
    turn = next((number for number, count in enumerate(counts) if count < counts[0]), 0)
    return share_of_rows(rows, (worker + turn) % workers, workers)


def mixed_windows(rows: Positions, chunks: Positions, size: int, seed: int | None, epoch: int) -> list[Positions]:
    """`rows` cut between chunks into windows of about `size`, of which each is shuffled where there is a seed."""
    if not len(rows):
        return []
    starts = np.flatnonzero(np.diff(chunks[rows], prepend=-1))
    start_of = np.repeat(starts, np.diff(starts, append=len(rows)))
    cut = np.split(rows, np.flatnonzero(np.diff(start_of // size)) + 1)
    if seed is None:
        return cut
    mixed = [numpy_generator(derive(seed, f"window {epoch} {window[0]}")) for window in cut]
    return [generator.permutation(window) for generator, window in zip(mixed, cut, strict=True)]
