"""Read a released version by its git tag, pulled into the checkout or straight out of its store.

Why apart from dvc: a training machine needs torch, pyarrow and pillow to read a version, and git to know which one it
has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from tasks.contracts import DefectoryError
from tasks.versions.locked import RELEASE, outputs_of

if TYPE_CHECKING:
    from tasks.versions.pulled import ReleaseDataset
    from tasks.versions.streamed import StreamedRelease


@dataclass(frozen=True)
class Stream:
    """How a version is read straight from its store, without a pull."""

    categories: tuple[str, ...] = ()
    """Only these; all where empty."""
    seed: int | None = None
    """Shuffles, anew in each epoch; without one the order is the manifest's."""
    buffer: int = 256
    """Samples that are held and mixed, beside as many that are fetched ahead; in each worker."""
    rank: int = 0
    world_size: int = 1
    """Processes that train together; each gets its own share, none differing by more than one sample."""
    verify: bool = False
    """Compare the SHA-256 of each image and mask with the manifest's."""
    endpoint: str | None = None
    """Another address of the store's server than the repository's."""


@overload
def open_release(
    tag: str, repo: Path = ..., transform: Callable[[dict[str, Any]], Any] | None = ..., stream: None = ...
) -> ReleaseDataset: ...


@overload
def open_release(
    tag: str, repo: Path = ..., transform: Callable[[dict[str, Any]], Any] | None = ..., *, stream: Stream
) -> StreamedRelease: ...


def open_release(
    tag: str,
    repo: Path = Path(),
    transform: Callable[[dict[str, Any]], Any] | None = None,
    stream: Stream | None = None,
) -> ReleaseDataset | StreamedRelease:
    """The Dataset of the version `tag`, read from a checkout into which its release was pulled.

    With `stream` nothing needs to be pulled, a clone alone is enough: an IterableDataset of the same items out of the
    store that the clone names. The key is where boto3 finds it: in the environment or a profile.

    Raises DefectoryError when there is no such tag; nothing was pulled, or another version is there; or the store, the
    key or one of the version's files is not as it should be.
    """
    output = outputs_of(repo, tag).get(RELEASE)
    if output is None:
        raise DefectoryError(f"{repo}: the tag {tag!r} holds no {RELEASE}")
    if stream is not None:
        # Here, because a folder is read without boto3, and a tag without torch.
        from tasks.versions.remote import remote_of
        from tasks.versions.stored import open_stored
        from tasks.versions.streamed import StreamedRelease

        return StreamedRelease(open_stored(tag, output, remote_of(repo, stream.endpoint)), stream, transform)
    from tasks.versions.pulled import ReleaseDataset, pulled_folder

    return ReleaseDataset(pulled_folder(tag, output, repo), transform)
