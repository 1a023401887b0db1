"""Weights are numbers: no file that is read may run code, and no code here reads one that could."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from tasks.contracts import DefectoryError
from tasks.diffusion.pretrained import load_part
from tasks.networks.weights import read_state_dict
from tasks.synthesis.anomalyany.text_image import PretrainedTextImage
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for package in ("tasks", "flows", "benchmarks") for path in (ROOT / package).rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NUMPY_ONLY = ROOT / "tasks" / "networks" / "weights.py"
"""The one module that has an unpickler, which knows numpy arrays and nothing else."""
WITHOUT_WEIGHTS = {"CLIPProcessor", "CLIPTokenizer"}
"""Classes whose `from_pretrained` reads JSON and word lists only."""


def dangers(tree: ast.AST) -> Iterator[str]:
    """What could run code out of a file, as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.Call):
            yield from _of_call(ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords})


def _of_call(name: str, words: dict[str | None, str]) -> Iterator[str]:
    owner, _, method = name.rpartition(".")
    if name == "torch.load" and words.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if method == "from_pretrained" and owner not in WITHOUT_WEIGHTS and words.get("use_safetensors") != "True":
        yield f"{name} without use_safetensors=True"
    if words.get("trust_remote_code", "False") != "False":
        yield f"{name} with trust_remote_code"
    if name in ("np.load", "numpy.load") and words.get("allow_pickle") != "False":
        yield "np.load without allow_pickle=False"
    if name in ("yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system", "torch.hub.load") or "shell" in words:
        yield name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_reads_a_file_that_could_run_code(path: Path) -> None:
    found = list(dangers(ast.parse(path.read_text(encoding="utf-8"))))
    assert found == (["imports pickle"] if path == NUMPY_ONLY else [])


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "UNet.from_pretrained(path)",
        "CLIPModel.from_pretrained(path, use_safetensors=safe)",
        "CLIPTokenizer.from_pretrained(path, trust_remote_code=True)",
        "np.load(file)",
        "yaml.load(text, Loader)",
        "subprocess.run(command, shell=True)",
        "eval(text)",
    ],
)
def test_the_search_finds_each_danger(code: str) -> None:
    assert len(list(dangers(ast.parse(code)))) == 1


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.mkdir, (self.folder,)


def plant(path: Path, marker: Path, zipped: bool) -> Path:
    """A weight file that runs code for whoever unpickles it, as plain pickle or in torch's archive."""
    if zipped:
        torch.save({"weight": Attack(marker)}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Attack(marker)}, protocol=2))
    return path


def test_the_attack_is_a_real_one(tmp_path: Path) -> None:
    pickle.loads(plant(tmp_path / "w.bin", tmp_path / "ran", zipped=False).read_bytes())
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_weight_file_that_runs_code_is_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    path = plant(tmp_path / "weights.pth", tmp_path / "ran", zipped)
    with pytest.raises(DefectoryError, match=r"weights\.pth: not a file of plain weights"):
        read_state_dict(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "part", "pickled"),
    [
        (UNet2DConditionModel, "unet", "diffusion_pytorch_model.bin"),
        (CLIPTextModel, "text_encoder", "pytorch_model.bin"),
    ],
)
def test_a_pipeline_folder_with_pickled_weights_is_refused(tmp_path: Path, kind: type, part: str, pickled: str) -> None:
    folder = save_tiny_pipeline(tmp_path / "pipeline")
    load_part(kind, str(folder), part, "backbone.path")
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
    plant(folder / part / pickled, tmp_path / "ran", zipped=True)
    with pytest.raises(DefectoryError, match=f"backbone.path .*its {part} could not be loaded"):
        load_part(kind, str(folder), part, "backbone.path")
    assert not (tmp_path / "ran").exists()


def test_a_clip_folder_with_pickled_weights_or_code_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "clip", "architectures": ["CLIPModel"], "auto_map": {"AutoModel": "attack.Attack"}}'
    )
    (tmp_path / "attack.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).mkdir()\n")
    plant(tmp_path / "pytorch_model.bin", tmp_path / "ran", zipped=True)
    with pytest.raises(DefectoryError, match=r"text_image_path .*no CLIP model could be loaded"):
        PretrainedTextImage(str(tmp_path))
    assert not (tmp_path / "ran").exists()
