import os
import shutil
from pathlib import Path

import pytest

from tasks.files.folders import begin, refuse, refused_name, swap_in


class Killed(BaseException):
    pass


def put(folder: Path, text: str) -> None:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text(text)


def text_in(folder: Path) -> str:
    return (folder / "inner" / "file").read_text()


def test_the_new_folder_takes_the_place_of_the_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    final = tmp_path / "release"
    for text in ("one", "two"):
        building = begin(final)
        put(building, text)
        swap_in(building, final)
        assert text_in(final) == text
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_building_starts_empty_after_a_crash(tmp_path: Path) -> None:
    put(begin(tmp_path / "release"), "half")
    assert list(begin(tmp_path / "release").iterdir()) == []


def test_a_kill_at_any_rename_never_loses_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename
    for count in range(2):
        final = tmp_path / str(count) / "release"
        put(final, "old")
        building = begin(final)
        put(building, "new")
        made: list[object] = []

        def dying(*arguments: object, made: list[object] = made, count: int = count) -> None:
            if len(made) == count:
                raise Killed
            made.append(arguments)
            real(*arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", dying)
            with pytest.raises(Killed):
                swap_in(building, final)
        building = begin(final)
        assert text_in(final) == "old"
        put(building, "new")
        swap_in(building, final)
        assert text_in(final) == "new"


def test_a_refused_folder_is_kept_until_one_passes(tmp_path: Path) -> None:
    final = tmp_path / "release"
    put(final, "old")
    for text in ("bad", "worse"):
        building = begin(final)
        put(building, text)
        assert refuse(building, final) == refused_name(final)
    assert (text_in(final), text_in(refused_name(final))) == ("old", "worse")
    building = begin(final)
    put(building, "good")
    swap_in(building, final)
    assert text_in(final) == "good"
    assert not refused_name(final).exists()


def test_a_kill_while_a_folder_is_removed_never_leaves_a_half_one_to_be_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "release"
    put(final, "old")
    building = begin(final)
    put(building, "new")

    def dying(folder: Path, **_: object) -> None:
        if folder.exists():
            (folder / "inner" / "file").unlink()
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", dying)
        with pytest.raises(Killed):
            swap_in(building, final)
    shutil.rmtree(final)  # dvc does so before it runs a stage
    begin(final)
    assert not final.exists(), "a half-removed folder was put back as the release"
    swap_in(begin(final), final)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
