"""Tables to bytes and back: Parquet with fixed row groups and compression and without pandas' metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.contracts import DefectoryError

IMAGE_ROWS = 100
"""Rows a group where a table holds pictures: Parquet's default of a million makes every reader hold them all."""

PLAIN_ROWS = 10_000
"""Rows a group of a table without pictures."""


def encode_table(table: pa.Table, row_group_size: int = PLAIN_ROWS) -> bytes:
    """A table as Parquet. Dictionaries and statistics are kept off pictures, where they only cost."""
    plain = [field.name for field in table.schema if not _holds_bytes(field.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_size,
        compression="zstd",
        compression_level=3,
        use_dictionary=plain,
        write_statistics=plain,
    )
    return bytes(sink.getvalue())


def _holds_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_nested(kind)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table, or some of its columns, of a Parquet file. Raises DefectoryError where it cannot be read."""
    with _opened(path) as file:
        return file.read(columns=None if columns is None else list(columns))


def read_columns(path: Path) -> list[str]:
    """The names of a Parquet file's columns. Raises DefectoryError where it cannot be read."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DefectoryError(f"{path}: cannot be read ({reason}); `defectory verify` says what to do") from error
