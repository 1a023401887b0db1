"""params.yaml: blocks of the stations and, beside them, of the systems; what is wrong is named by its whole path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.resolve import resolve
from tasks.contracts import DefectoryError
from tasks.params import Params, fingerprint, load_params
from tasks.params.registry import SYSTEMS, params_of
from tasks.params.systems import AdaBLDMParams, CutPasteParams, SystemParams

NEEDED: dict[str, Any] = {"dataset": {"name": "parts"}, "inputs": {"sources": [{"kind": "elpv"}]}}


def written(folder: Path, **blocks: Any) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({**NEEDED, **blocks}), encoding="utf-8")
    return path


def refusal(folder: Path, **blocks: Any) -> list[str]:
    with pytest.raises(DefectoryError) as refused:
        load_params(written(folder, **blocks))
    return str(refused.value).splitlines()[1:]


def test_a_block_is_read_by_name_and_by_class(tmp_path: Path) -> None:
    given = AdaBLDMParams(steps=7, strength=(1.0, 2.0))
    read = load_params(written(tmp_path, adabldm={"steps": 7, "strength": [1.0, 2.0]}))
    built = Params.model_validate({**NEEDED, "adabldm": {"steps": 7, "strength": (1.0, 2.0)}})
    for params in (read, built, Params.model_validate({**NEEDED, "adabldm": given})):
        assert params.of(AdaBLDMParams) == params.system("adabldm") == given
        assert params.of(CutPasteParams) == params.system("cutpaste") == CutPasteParams()
    assert read == built
    assert fingerprint(read) == fingerprint(built) != fingerprint(Params.model_validate(NEEDED))


def test_what_is_written_out_is_laid_out_as_the_file_and_read_back_the_same(tmp_path: Path) -> None:
    params = load_params(written(tmp_path, draem={"textures": "pictures"}))
    content = params.model_dump(mode="json")
    assert content.keys() >= {*NEEDED, *SYSTEMS}
    assert content["draem"] == {"strength": [0.2, 1.0], "masks": {}, "textures": "pictures"}
    assert load_params(written(tmp_path, **content)) == params


def test_dvc_is_shown_every_system_and_apart_those_that_paint(tmp_path: Path) -> None:
    params = written(tmp_path, paint={"systems": {"cutpaste": 1.0, "nsa": 0.0}}, cutpaste={"jitter": 0.2})
    resolve(params, tmp_path / "resolved.json")
    content = json.loads((tmp_path / "resolved.json").read_text())
    assert content["systems"] == {"cutpaste": content["cutpaste"]}
    assert content["cutpaste"]["jitter"] == 0.2
    for name in SYSTEMS.keys() - {"cutpaste"}:
        assert content[name] == params_of(name)().model_dump(mode="json")


def test_a_changed_block_takes_the_place_of_the_one_before() -> None:
    params = Params.model_validate(NEEDED)
    own = params.of(AdaBLDMParams).model_copy(update={"steps": 3})
    changed = params.model_copy(update={"adabldm": own})
    assert (changed.of(AdaBLDMParams).steps, params.of(AdaBLDMParams).steps) == (3, AdaBLDMParams().steps)


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    wrong = {"sdas": {"model": {"stepz": 3}}, "adabldm": {"steps": "many"}, "adabdlm": {}, "masks": {"min_aera": 1}}
    assert sorted(refusal(tmp_path, **wrong)) == [
        "  adabdlm: unknown key; did you mean 'adabldm'?",
        "  adabldm.steps: Input should be a valid integer, got 'many'",
        "  masks.min_aera: unknown key; did you mean 'min_area'?",
        "  sdas.model.stepz: unknown key; did you mean 'steps'?",
    ]


@pytest.mark.parametrize("name", ["systems", "model_extra"])
def test_no_key_but_a_station_and_a_system_is_known(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, **{name: {}})[0].startswith(f"  {name}: unknown key;")


def test_a_system_that_is_not_there_has_no_block() -> None:
    class OtherParams(SystemParams):
        pass

    params = Params.model_validate(NEEDED)
    with pytest.raises(DefectoryError, match="no synthesis system is called 'adabdlm'; did you mean 'adabldm'"):
        params.system("adabdlm")
    with pytest.raises(DefectoryError, match="OtherParams is the block of no system"):
        params.of(OtherParams)
