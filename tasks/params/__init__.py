"""params.yaml, checked: every value that changes bytes, a block per station, and nothing else.

`load_params(path)` returns frozen pydantic models or raises DefectoryError with one line per problem,
each naming the key by its full path, what was expected, what came, and for an unknown key the nearest
valid one. Workers, devices, endpoints and budgets are no params: they are flags or environment.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from tasks.contracts import CLEAN, DefectoryError, check_name
from tasks.params.blocks import Block, Count, PoolTrainingBlock, Positive, Prompt, Share
from tasks.params.detectors import EvaluateParams
from tasks.params.registry import SYSTEMS, Entry, name_of, params_of
from tasks.params.systems import MaskShares, SystemParams

_Own = TypeVar("_Own", bound=SystemParams)

CODE_VERSION = 5
"""Raised whenever the code of a station changes the bytes of a shard, or the code below what is drawn, so that old
shards are made again."""


class DatasetParams(Block):
    name: str
    image_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 256
    """Pixels a side of every image of the dataset."""
    samples_per_category: Count = 24
    shard_size: Count = 12
    seed: int = 0
    threads: Count = 2
    """Of torch, in every model: the number changes the order of floating-point sums, and so the last bits."""

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_name(name, "dataset.name")


class SourceParams(Block):
    """One source of photographs.

    `elpv` reads the installed package `elpv-dataset` (no root). `mvtec` reads the MVTec AD layout of one
    category below `root`. `folder` reads what the globs name, relative to `root`: `clean` for clean images,
    `defects` and `masks` by defect type, where a mask pattern may hold `{stem}` for the image's stem.
    """

    kind: Literal["elpv", "mvtec", "folder"]
    root: str = ""
    category: str = ""
    license: str = "unknown"
    fit: Literal["squash", "crop", "pad"] = "squash"
    """How an image that is not square is brought to the dataset's size."""
    mask_threshold: Annotated[int, Field(ge=0, le=254)] = 127
    """A mask pixel is defect where its grey level is above this."""
    clean: list[str] = []
    clean_test: list[str] = []
    """Clean images that a source has set aside for testing; they are never trained on."""
    defects: dict[str, list[str]] = {}
    masks: dict[str, str] = {}
    group_rule: str = ""
    """A regular expression on the path relative to `root`; its named groups `number` (and `exposure`) order the
    images, and a new physical object begins wherever `exposure` does not rise. Empty: every image its own object."""
    foreground: Literal["otsu", "learned", "whole"] = "otsu"
    """By a level between background and object, by a network's features (slower, for backgrounds that differ in
    brightness), or the whole image, as for textures."""
    min_defect_probability: Share = 1.0
    """`elpv` only: cells whose labelled probability is at least this are defects; 0 is clean; the rest is left out."""
    limit: int = 0
    """At most so many images of each category and label, evenly spaced; 0 is all."""

    @model_validator(mode="after")
    def _complete(self) -> SourceParams:
        if self.kind != "elpv" and not (self.root and self.category):
            raise ValueError(f"a source of kind '{self.kind}' needs root and category")
        for name in [self.category, *self.defects] if self.category else [*self.defects]:
            check_name(name, "category or defect type")
        if CLEAN in self.defects:
            raise ValueError(f"'{CLEAN}' is no defect type")
        return self


class InputsParams(Block):
    sources: Annotated[list[SourceParams], Field(min_length=1)]
    clean_train_share: Share = 0.8
    defect_train_share: Share = 0.34
    """Of the physical objects, which the generator may see; the rest is kept for testing."""
    near_duplicate_distance: Annotated[float, Field(ge=0.0)] = 0.03
    """Images whose descriptors are nearer than this are joined into one group."""
    max_pixels: Count = 64_000_000


class MasksParams(Block):
    sources: MaskShares = {"perlin": 0.2, "strokes": 0.4, "reference": 0.4}
    """Shares, made to sum to 1; `reference` falls back to `strokes` in a category without any."""
    min_area: Positive = 0.002
    max_area: Positive = 0.15
    """Of the image."""
    stroke_width: tuple[Positive, Positive] = (1.5, 5.0)
    """Pixels at 256 px; scaled with the image size."""
    branch_probability: Share = 0.35
    scale: tuple[Positive, Positive] | None = None
    """Of reference masks, against their own size. Left out: learned, or with another placement .85 to 1.15."""
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] | None = None
    """Degrees either way, of reference masks. Left out: learned, or with another placement 180."""
    placement: Literal["learned", "anywhere", "in_place"] = "learned"
    """Where a mask goes. `learned`: to places, in directions and at sizes in which the type's references occur on their
    objects; the fewer there are, the more freely. `anywhere` on the object. `in_place`: a reference mask where it was,
    turned with the object about its middle, for parts in one pose whose defects keep to the rim, say."""
    max_tries: Count = 50
    pseudo_quantile: Share = 0.99
    """A defective image without a mask: where its anomaly map is above this quantile of clean images' maps."""
    pseudo_polarity: Literal["dark", "bright", "both"] = "both"
    """Whether a defect is darker than the clean surface, brighter, or either."""
    learned_by: Literal["textual_inversion", "vq_transformer"] = "textual_inversion"
    """Of the source `learned`, which draws from masks that a generator made: AnomalyDiffusion's or VQ-Transformer's."""
    learned_per_type: Count = 64
    """Masks that the generator makes for each category and defect type."""
    learned_steps: Count = 600
    """Of the training of `textual_inversion`; the other has steps of its own in `vq_transformer`."""


class CodecParams(Block):
    kind: Literal["embedded", "pretrained"] = "embedded"
    path: str = ""
    """`pretrained`: a folder or hub name of an AutoencoderKL of diffusers', or of a pipeline with one."""
    fine_tune_steps: Annotated[int, Field(ge=0)] = 300
    batch_size: Count = 8
    crop: Count = 128
    learning_rate: Positive = 4e-4
    lpips_weight: Annotated[float, Field(ge=0.0)] = 0.3


class TrainingParams(PoolTrainingBlock):
    """Of a denoiser's training."""

    pool_size: Count = 1600
    inside_weight: Annotated[float, Field(ge=1.0)] = 20.0
    """Weight of the loss inside the mask against outside."""
    whole_share: Share = 0.0
    """Of the training images, those to be painted whole: the mask is the image, and nothing of it is given."""
    steps: Count = 2000
    ema_decay: Share = 0.998
    label_dropout: Share = 0.1


class DenoiserParams(TrainingParams):
    """AdaBLDM's denoiser, told the trimap."""

    kind: Literal["embedded", "pretrained"] = "embedded"
    path: str = ""
    """`pretrained`: a Stable-Diffusion-type pipeline folder or hub name."""
    channels: list[Annotated[int, Field(ge=16, multiple_of=16)]] = [48, 96, 160]
    """Of the embedded U-Net by level; the last, at which it attends, a multiple of 32."""


class BackboneParams(TrainingParams):
    """The text-conditional latent diffusion model below AnomalyDiffusion, AnomalyAny and the few-shot painter."""

    kind: Literal["embedded", "pretrained"] = "embedded"
    path: str = ""
    """`pretrained`: a Stable-Diffusion-type pipeline folder or hub name, for text or for inpainting."""
    channels: list[Annotated[int, Field(ge=32, multiple_of=32)]] = [64, 128, 192]
    """Of the embedded U-Net by level; it attends to the text at all but the first."""
    inside_weight: Annotated[float, Field(ge=1.0)] = 5.0
    whole_share: Share = 0.3
    prompt: Prompt = "a {category} with {defect_type}"


class PaintParams(Block):
    systems: dict[str, Share] = {"adabldm": 1.0}
    """Synthesis systems and their shares of the samples, made to sum to 1; each has a block of its own name."""
    batch_size: Count = 12
    """Changes bytes: the batch's shape changes the order of floating-point sums."""
    prompt: Prompt = "{category}, a {category} with a {defect_type}"
    """Of AdaBLDM's pretrained backbone."""
    close_up_cells: Annotated[int, Field(ge=0)] = 9
    """A mask that touches fewer latent cells (8 x 8 pixels) is painted in a magnified view; 0: never."""


class AdaptParams(Block):
    kind: Literal["none", "published", "closed_form"] = "closed_form"
    """`published`: AdaBLDM, gradient steps on the full decoder for each image. `closed_form`: the same objective,
    minimised exactly over the decoder's last layer in overlapping windows."""
    steps: Count = 200
    """Of `published`."""
    learning_rate: Positive = 1e-4
    """Of `published`."""
    outside_weight: Positive = 100.0
    """AdaBLDM's lambda_con."""
    window: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Of `closed_form`: pixels from one window's centre to the next; each reaches to its neighbours' centres."""
    ridge: Positive = 1e-3
    """Of `closed_form`: how strongly the last layer is held to the trained one."""
    feather: Annotated[int, Field(ge=0)] = 6
    """Pixels outside the mask over which the result is blended into the clean image."""
    real_patches: bool = True
    """Whether what a codec decoded is drawn anew with patches of the train split's real defects, where it has any.
    The composition stays, the grain becomes a camera's. No published system does it: `false` shows it as published."""


class ScoreParams(Block):
    classifier: Literal["inception_v3", "efficientnet_lite0", "none"] = "efficientnet_lite0"
    """Of the Inception score, confidence and entropy. `none` does without: with small images it takes most time."""
    change_threshold: Annotated[float, Field(ge=0.0, le=255.0)] = 8.0
    """Grey levels of change against the clean twin above which a pixel belongs to the effective mask."""


CategoryScore = Literal["is_efficientnet_lite0", "is_inception_v3", "ic_lpips_alexnet", "ic_lpips_vgg16"]


class SelectParams(Block):
    min_change_inside: Annotated[float, Field(ge=0.0)] = 6.0
    min_lpips_inside: Annotated[float, Field(ge=0.0)] = 0.02
    max_outside_abs: Annotated[float, Field(ge=0.0)] = 0.0
    max_seam_contrast: Annotated[float, Field(ge=0.0)] = 3.0
    min_effective_share: Share = 0.3
    """Of the intended mask, the share in which the change is seen."""
    min_nearest_real_lpips: Annotated[float, Field(ge=0.0)] = 0.0
    """Estimated LPIPS to the nearest real image of the train split, the clean twin's object left out; 0 is off. A
    sample below it may be a copy of a photograph."""
    min_nearest_lpips: Annotated[float, Field(ge=0.0)] = 0.01
    min_accepted_share: Share = 0.3
    """The gate refuses a release of which a smaller share of the plan was accepted."""
    max_failed_share: Share = 0.05
    min_category_scores: dict[CategoryScore, Annotated[float, Field(ge=0.0)]] = {}
    """By the name of a score and its network: the gate refuses a release with a category below. IC-LPIPS is computed
    for those named here alone; one of 0 is reported and refuses nothing."""
    ic_lpips_images: Annotated[int, Field(ge=2)] = 100
    """Accepted samples of each defect type that IC-LPIPS compares. At 256 px and on one core AlexNet computes
    for 24 ms for each and VGG-16 for 580 ms, real defects included, and every shard that holds one is read."""


class StationParams(Block):
    """The blocks that do not belong to one synthesis system."""

    dataset: DatasetParams
    inputs: InputsParams
    masks: MasksParams = MasksParams()
    codec: CodecParams = CodecParams()
    denoiser: DenoiserParams = DenoiserParams()
    backbone: BackboneParams = BackboneParams()
    paint: PaintParams = PaintParams()
    adapt: AdaptParams = AdaptParams()
    score: ScoreParams = ScoreParams()
    select: SelectParams = SelectParams()
    evaluate: EvaluateParams = EvaluateParams()


class Params(StationParams, extra="allow"):
    """All of params.yaml: the stations' blocks and, beside them, one for each system of the registry, by its name.

    A system reads its own block by its class, with `of`; what knows systems by name alone reads it with `system`.
    """

    @model_validator(mode="before")
    @classmethod
    def _as_registered(cls, given: Any, info: ValidationInfo) -> Any:
        """pydantic lets further keys pass, for it cannot know the systems; here each is held to its entry's class."""
        if not isinstance(given, dict):
            return given
        keys = _all_keys()
        checked = keys.model_validate_json(json.dumps(given)) if info.mode == "json" else keys.model_validate(given)
        return dict(checked)

    def system(self, name: str) -> SystemParams:
        """The block of a synthesis system. Raises DefectoryError for a name that no system has."""
        block, blocks = params_of(name), self.model_extra or {}
        return cast(SystemParams, blocks[name]) if name in blocks else block()

    def of(self, block: type[_Own]) -> _Own:
        """The block of the system that declares this class. Raises DefectoryError where none does."""
        return cast(_Own, self.system(name_of(block)))


def _all_keys() -> type[StationParams]:
    return _keys_with(tuple(SYSTEMS.items()))


@lru_cache(maxsize=8)
def _keys_with(systems: tuple[tuple[str, Entry], ...]) -> type[StationParams]:
    """What params.yaml may hold with these systems: pydantic then names a wrong key by its whole path."""
    blocks: dict[str, Any] = {name: (params_of(name), params_of(name)()) for name, _ in systems}
    return create_model("Params", __base__=StationParams, **blocks)


def load_params(path: Path) -> Params:
    """Read and check a params file. Raises DefectoryError naming the file and every bad key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DefectoryError(f"{path}: no such params file; give one with --params") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DefectoryError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict):
        raise DefectoryError(f"{path}: expected blocks such as 'dataset:', got {type(raw).__name__}")
    try:
        return Params.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        problems = "\n".join(_describe(problem, raw) for problem in error.errors())
        raise DefectoryError(f"{path}:\n{problems}") from None
    except TypeError as error:
        raise DefectoryError(f"{path}: {error}") from None


def _describe(problem: Any, raw: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        valid = _keys_beside(problem["loc"])
        near = difflib.get_close_matches(str(problem["loc"][-1]), valid, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else f"; valid keys: {', '.join(valid)}"
        return f"  {key}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"  {key}: required, but not given"
    return f"  {key}: {problem['msg']}, got {problem['input']!r}"


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    block: type[BaseModel] = _all_keys()
    for part in location[:-1]:
        if part == "sources" or isinstance(part, int):
            block = SourceParams
        elif part in block.model_fields:
            annotation = block.model_fields[part].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                block = annotation
    return sorted(block.model_fields)


def fingerprint(*parts: Any) -> str:
    """A SHA-256 of blocks, strings and numbers in order: equal exactly when what touches the bytes is equal."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
