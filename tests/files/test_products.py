"""Products: declared made when they are whole, and nothing that a killed run has left stays beside them."""

from __future__ import annotations

from pathlib import Path

from tasks.files.products import checkpoint_of, is_made, mark_made, marker_of, remove_leftovers


def test_a_torn_marker_or_a_changed_product_is_not_made(tmp_path: Path) -> None:
    product = tmp_path / "net.safetensors"
    product.write_bytes(b"weights")
    mark_made(product, "these params")
    assert is_made(product, "these params")
    assert not is_made(product, "those params")
    whole = marker_of(product).read_bytes()
    marker_of(product).write_bytes(whole[: len(whole) // 2])
    assert not is_made(product, "these params")
    marker_of(product).write_bytes(whole)
    product.write_bytes(b"weightz")
    assert not is_made(product, "these params")


def test_what_killed_runs_have_left_is_removed_and_what_is_still_of_use_is_kept(tmp_path: Path) -> None:
    product, unfinished = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    kept = [product, marker_of(product), checkpoint_of(unfinished), tmp_path / "fitted.json"]
    gone = [checkpoint_of(product), tmp_path / ".fitted.json.7.partial", tmp_path / ".net.safetensors.8.partial"]
    for path in (*kept, *gone):
        path.write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
