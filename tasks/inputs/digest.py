"""One hash over everything that the sources name: whether the photographs are still those that were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tasks.inputs.readers import list_source
from tasks.params import InputsParams, SourceParams, fingerprint


def sources_sha256(params: InputsParams, root: Path) -> str:
    """A SHA-256 over path and bytes of every image and mask that the sources name; `root` as in `build_inputs`.

    Raises DefectoryError for a source that is not there.
    """
    return fingerprint([list(_entries(source, root)) for source in params.sources])


def _entries(source: SourceParams, root: Path) -> Iterator[tuple[str, str, str]]:
    for image in list_source(source, root).images:
        yield image.path, _sha256(image.file), _sha256(image.mask_file)


def _sha256(file: Path | None) -> str:
    """Empty for what is no regular file: the readers name it, here it only must not stop anything."""
    if file is None or not file.is_file():
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
