"""Kills and restarts: is what is there in the end what an undisturbed run leaves, to the last byte?

    python -m benchmarks.kill [--times 400] [--trees 20] [--seed 0]

The line and the publishing are each killed before every write that they make (about 150 and 100 instants; of more than
half of `--times` an even choice), one after another in one workspace, then at random ones in further workspaces. Then
a real `defectory publish`, with its server, dvc and stages, is killed `--trees` times at a random second: all of its
processes, or one of them. Ends with status 1 on any difference, error, or version that cannot be pulled whole.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import kill_line, kill_publish, kill_trees
from benchmarks.figures import print_figure
from benchmarks.killing import Instant, Zygote, instants_of, zygote
from flows.server.local_store import local_store, store_key
from flows.server.server import embedded_server, records_in
from tasks.files.hashing import file_sha256


class Campaign:
    """Kills as many times as it is told, and keeps what it has seen."""

    def __init__(self, forks: Zygote, folder: Path, endpoint: str, seed: int) -> None:
        self.forks, self.folder, self.endpoint, self.random = forks, folder, endpoint, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.problems: list[str] = []
        self._line, self._repo = folder / "line", folder / "repo"

    def undisturbed(self) -> tuple[list[Instant], list[Instant]]:
        """Run the line and the publishing once each; returns the instants of both."""
        kill_line.lay_out(self._line)
        line = self.forks.attempt(kill_line.RUN, self._line)
        self._lay_out(self._repo)
        published = self.forks.attempt(kill_publish.RUN, self._repo)
        assert not line.error + published.error, line.error + published.error
        return instants_of(line.writes), instants_of(published.writes)

    def line(self, instants: list[Instant]) -> None:
        folder = self.folder / f"line {sum(self.kills.values())}"
        kill_line.lay_out(folder)
        self._kill("line", kill_line.RUN, folder, instants)
        self._compare(f"{folder.name}: data", hashes(folder / "data"), hashes(self._line / "data"))

    def publishing(self, instants: list[Instant]) -> None:
        repo = self.folder / f"repo{sum(self.kills.values())}"
        self._lay_out(repo)
        self._kill("publish", kill_publish.RUN, repo, instants)
        if error := self.forks.attempt(kill_publish.CHECK, repo).error:
            self.problems.append(error)
        else:
            self._compare(f"{repo.name}: version", kill_publish.version(repo), kill_publish.version(self._repo))

    def trees(self, times: int) -> None:
        """Real programs, killed by the clock."""
        repo = self.folder / "trees"
        kill_trees.lay_out(repo, self.endpoint)
        self.kills += kill_trees.kill(repo, times, self.random)
        self.problems += [error] if (error := self.forks.attempt(kill_publish.CHECK_DATA, repo).error) else []
        self._compare("trees: release", hashes(repo / "data" / "release"), hashes(self._line / "data" / "release"))

    def _lay_out(self, repo: Path) -> None:
        kill_publish.lay_out(repo, self._line / "data", self._line / "params.yaml", self.endpoint)

    def _kill(self, what: str, function: str, folder: Path, instants: list[Instant]) -> None:
        for number, instant in enumerate(instants, start=1):
            attempt = self.forks.attempt(function, folder, instant)
            print(f"\r{folder.name}: {number} of {len(instants)}", end="", file=sys.stderr, flush=True)
            if attempt.killed:
                self.kills[f"{what}: {place_of(instant)}"] += 1
            elif attempt.error:
                self.problems.append(f"after {instant}: {attempt.error}")
        print(file=sys.stderr)
        last = self.forks.attempt(function, folder)
        self.problems += [last.error] if last.error else []

    def _compare(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.problems.append(f"{what}: expected {expected}, found {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=400, help="at a write")
    parser.add_argument("--trees", type=int, default=20, help="at a second, of a real program")
    parser.add_argument("--seed", type=int, default=0, help="of what is random")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _surroundings(Path(name)) as (forks, endpoint):
        campaign = Campaign(forks, Path(name), endpoint, given.seed)
        kill_as_told(campaign, given.times, given.trees)
    for place, count in sorted(campaign.kills.items()):
        print(f"{count:6d}  {place}")
    print("\n".join(campaign.problems), end="\n" if campaign.problems else "")
    count = len(campaign.problems)
    print_figure("kill", count, f"differences after {sum(campaign.kills.values())} kills", "0", not count)
    sys.exit(bool(campaign.problems))


def kill_as_told(campaign: Campaign, times: int, trees: int) -> None:
    line, published = campaign.undisturbed()
    campaign.line(spread(line, times // 2))
    campaign.publishing(spread(published, times // 2))
    while (missing := times - sum(campaign.kills.values())) > 0 and not campaign.problems:
        count = min(missing, 1 + campaign.random.randrange(12))
        kill, instants = campaign.random.choice([(campaign.line, line), (campaign.publishing, published)])
        kill(sorted(campaign.random.sample(instants, count), key=instants.index))
    if trees:
        campaign.trees(trees)


def spread(instants: list[Instant], count: int) -> list[Instant]:
    """At most so many of them, from the first to the last."""
    chosen = {len(instants) * number // count for number in range(count)} if count else set()
    return [instants[number] for number in sorted(chosen)]


def place_of(instant: Instant) -> str:
    """What the instant belongs to, such as `data/models` or `.dvc/tmp`."""
    event, _, name = instant.write.partition(" ")
    return "/".join(name.split("/")[:2]) if "/" in name else f"{event} {name}".rstrip(" 0123456789")


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _surroundings(folder: Path) -> Iterator[tuple[Zygote, str]]:
    """A Prefect server, a store whose key is in the environment, and a process to fork from."""
    key = store_key(folder / "store")
    os.environ |= key.environment()
    with (
        records_in(folder / "prefect"),
        embedded_server(),
        local_store(folder / "store", key.access_key, key.secret_key) as endpoint,
        zygote(folder / "log", "benchmarks.kill_line", "benchmarks.kill_publish") as forks,
    ):
        yield forks, endpoint


if __name__ == "__main__":
    main()
