"""A released version as a torch IterableDataset that reads it out of its store while a training runs.

In: a version in its store. Out: the items that `ReleaseDataset` gives of the pulled release. Shards are fetched a
window ahead, by threads of each worker. What was trained on is noted by the caller, who alone knows which batches
have left the workers: with that a stopped epoch goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import IterableDataset, get_worker_info

from tasks.contracts import DefectoryError
from tasks.files.tables import IMAGE_ROWS
from tasks.release.reader import make_item
from tasks.versions import Stream
from tasks.versions.stored import StoredRelease
from tasks.versions.stream_order import Positions, epoch_order, mixed_windows, part_of_worker, share_of_rows

_READERS = 4
"""Requests at once, in each worker."""

Fetched = Future[dict[int, dict[str, Any]]]


class StreamedRelease(IterableDataset[dict[str, Any]]):
    """The samples of a version that were not yet seen in this epoch, each once over all workers and ranks.

    Made by `tasks.versions.open_release`. Items, `labels` (those of the whole release) and `transform` are as in
    `ReleaseDataset`. Without a seed and with one worker the order is the manifest's.

    A training that can be taken up again calls `set_epoch(epoch)` before each epoch and `mark_seen` after each batch,
    and saves `state_dict()` with its checkpoint. After `load_state_dict` the loader gives the rest of the epoch: with
    the same loader and seed in the very same batches; with another number of workers each sample once, too. Each rank
    saves its own. What an epoch leaves out is settled by these two calls and lies in shared memory: workers that
    persist follow it, and one that starts late, when samples of others are noted already, takes its own part all the
    same.
    """

    def __init__(
        self,
        release: StoredRelease,
        stream: Stream,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        """Raises DefectoryError at a category that the release does not hold, or a setting out of its range."""
        if not (0 <= stream.rank < stream.world_size and stream.buffer > 0):
            raise DefectoryError(f"{stream}: expected a rank from 0 to world_size - 1 and a buffer of 1 or more")
        self.release, self.stream, self.transform = release, stream, transform
        listed = release.manifest
        defects = pd.Categorical(listed["defect_type"])
        self.labels, self._label = tuple(defects.categories), defects.codes
        self.categories = tuple(sorted(listed["category"].unique()))
        if unknown := sorted(set(stream.categories) - set(self.categories)):
            held = ", ".join(self.categories)
            raise DefectoryError(f"{release.tag!r} holds no category {', '.join(unknown)}; it holds: {held}")
        self._rows: Positions = np.flatnonzero(listed["category"].isin(stream.categories or self.categories))
        self._chunks: Positions = listed.groupby(["shard", listed["row"] // IMAGE_ROWS], sort=False).ngroup().to_numpy()
        self._sample_ids = pd.Index(listed["sample_id"])
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._seen = torch.zeros(len(listed), dtype=torch.bool)
        self._left_out = torch.zeros(len(listed), dtype=torch.bool).share_memory_()

    @property
    def samples(self) -> int:
        """How many this rank gets in a whole epoch. Not `len`, which torch holds against loaders of many workers."""
        return len(self._share())

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: another order, and nothing seen. One that was begun already goes on."""
        if epoch != self.epoch:
            self._epoch.fill_(epoch)
            self._seen.fill_(False)
        self._left_out.copy_(self._seen)

    def mark_seen(self, sample_ids: Iterable[str]) -> None:
        """Note that the caller has these samples. Raises DefectoryError at one that the version does not hold."""
        names = list(sample_ids)
        places = self._sample_ids.get_indexer(names)
        if (places < 0).any():
            unknown = names[int(places.argmin())]
            raise DefectoryError(f"{self.release.tag!r} holds no sample {unknown}: give a batch's sample_id")
        self._seen[torch.from_numpy(places)] = True

    def state_dict(self) -> dict[str, Any]:
        """Release, epoch and what was seen of it, one bit a sample of the manifest."""
        return {"release": self.release.md5, "epoch": self.epoch, "seen": torch.from_numpy(np.packbits(self._seen))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises DefectoryError when the state is of another release."""
        if state["release"] != self.release.md5:
            raise DefectoryError(
                f"the state is of the release {state['release']}, the version {self.release.tag!r} is "
                f"{self.release.md5}: open the version that the training began with"
            )
        self._epoch.fill_(state["epoch"])
        self._seen.copy_(torch.from_numpy(np.unpackbits(state["seen"].numpy(), count=len(self._seen))).bool())
        self._left_out.copy_(self._seen)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        seen = self._left_out.numpy()
        rows = part_of_worker(self._share(), seen, *((info.id, info.num_workers) if info else (0, 1)))
        cut = mixed_windows(rows, self._chunks, self.stream.buffer, self.stream.seed, self.epoch)
        for row, stored in self._fetch([window[~seen[window]] for window in cut]):
            content = stored["image"]["bytes"], stored["mask"]["bytes"]
            item = make_item(stored["sample_id"], *content, int(self._label[row]))
            yield self.transform(item) if self.transform else item

    def _share(self) -> Positions:
        order = epoch_order(self._rows, self._chunks, self.stream.seed, self.epoch)
        return share_of_rows(order, self.stream.rank, self.stream.world_size)

    def _fetch(self, cut: list[Positions]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each row with what is stored of it; while a window is given, the next one is on its way."""
        readers = ThreadPoolExecutor(_READERS)
        arriving: list[tuple[int, Fetched]] = []
        try:
            for window in [*cut, self._rows[:0]]:
                asked = self._ask(readers, window)
                for row, answer in arriving:
                    yield row, answer.result()[row]
                arriving = asked
        finally:
            readers.shutdown(wait=False, cancel_futures=True)

    def _ask(self, readers: ThreadPoolExecutor, window: Positions) -> list[tuple[int, Fetched]]:
        """A request for each chunk that has rows of the window, in the order in which they are needed."""
        chunks = self._chunks[window]
        answers = {
            chunk: readers.submit(self.release.read, window[chunks == chunk], self.stream.verify)
            for chunk in dict.fromkeys(chunks.tolist())
        }
        return [(row, answers[chunk]) for row, chunk in zip(window.tolist(), chunks.tolist(), strict=True)]
