"""What each synthesis system is worth, and their mix: the evaluation with all of them as arms, in one run.

    python -m benchmarks.worth --params docs/systems/bottle.yaml --workspace DIR [--systems a,b,c]
        [--out docs/evaluation]

Inputs are read and systems fitted in DIR/data, images painted and scored in DIR/worth; what is there already is used.
Every system paints the same planned samples, with mask sources of its own where its block in params has some. The mix
is what a release of these params holds: as many samples, by the systems of `paint.systems`. A published system alone is
painted without real patches, which are ours. Tiers, budgets and seeds are the params' `evaluate` block.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.figures import hardware, print_figure
from benchmarks.setup import read_or_build, systems_named
from benchmarks.systems.training import timed
from benchmarks.worth.kept import ByCategory, read_examples, write_examples
from flows.terminal import progress
from tasks.detectors.protocol import Role, SyntheticSet
from tasks.evaluation.evaluate import Evaluation, evaluate_category
from tasks.evaluation.examples import photographs_of
from tasks.evaluation.leaks import Leak, refuse_leaks
from tasks.evaluation.metrics.arm_figures import Figures
from tasks.evaluation.outcome import write_outcome
from tasks.evaluation.painted import BASELINES, as_many, only, painted_by
from tasks.evaluation.verdict import DetectorVerdict
from tasks.files.names import CODEC
from tasks.inputs.dataset import Inputs
from tasks.networks.arithmetic import fix_arithmetic
from tasks.networks.device import choose_device
from tasks.params import Params, fingerprint, load_params
from tasks.params.registry import SYSTEMS
from tasks.progress import Report
from tasks.quality.scores import Scorer
from tasks.synthesis.fitted import fitted_sha256
from tasks.synthesis.fitting import fit_systems

MIX = "mix"
"""The dataset under test."""
OWN = ("inpaint_lora",)
"""What is no published system, and so is judged with all that the params give it."""
PUBLISHED = ("sdas", "adabldm", "anomalydiffusion", "anomalyany", "vq_transformer")
"""The generative systems that a painter of our own should be ahead of."""
_RIVALS = ("single", "baseline", "real")


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    params = load_params(given.params)
    names = systems_named(given.systems)
    fix_arithmetic(params)
    device = choose_device()
    with progress() as report:
        inputs = read_or_build(params, given.params.parent, given.workspace / "data" / "inputs", report)
        wanted = {MIX: params} | {name: as_published(only(params, name), name) for name in names}
        painted = {name: _painted(name, inputs, each, given.workspace, device, report) for name, each in wanted.items()}
        suspected = refuse_leaks(inputs, params.inputs.near_duplicate_distance, report=report)
        evaluations = [
            _evaluated(category, inputs, painted, suspected, params, given.workspace, device, report)
            for category in inputs.categories
        ]
    command = f"python -m benchmarks.worth --params {given.params.as_posix()} --workspace DIR"
    command += f" --systems {given.systems}" if given.systems else ""
    title = f"What the systems are worth on {params.dataset.name} ({hardware()})"
    write_outcome(given.out / params.dataset.name, title, f"`{command}`", evaluations, params.evaluate)
    _print(evaluations)


def _evaluated(
    category: str,
    inputs: Inputs,
    painted: Mapping[str, ByCategory],
    suspected: Sequence[Leak],
    params: Params,
    workspace: Path,
    device: torch.device,
    report: Report,
) -> Evaluation:
    sets = [SyntheticSet(name, _role_of(name), examples.get(category, ())) for name, examples in painted.items()]
    photographs = photographs_of(inputs, category, workspace / "data" / "models", params.evaluate.image_size)
    folder = workspace / "worth" / "scores" / category
    return evaluate_category(category, photographs, sets, suspected, params.evaluate, folder, device, report)


def _role_of(name: str) -> Role:
    if name == MIX:
        return "ours"
    return "baseline" if name in BASELINES else "single"


def as_published(params: Params, system: str) -> Params:
    """The params without real patches, which no publication has; a system of our own keeps them."""
    if system in OWN or CODEC not in SYSTEMS[system].products:
        return params
    return params.model_copy(update={"adapt": params.adapt.model_copy(update={"real_patches": False})})


def _painted(
    name: str, inputs: Inputs, params: Params, workspace: Path, device: torch.device, report: Report
) -> ByCategory:
    """What the params' systems paint, from disk where it was painted by these very models."""
    models, file = workspace / "data" / "models", workspace / "worth" / "painted" / f"{name}.parquet"
    with timed(models):
        fit_systems(inputs, params, models, device, report)
    systems = [params.system(system) for system in params.paint.systems]
    blocks = [params.masks, *systems, params.paint, params.adapt, params.score, params.select]
    dataset, size = as_many(params).dataset, params.evaluate.image_size
    made_from = fingerprint(fitted_sha256(params, inputs, models), dataset, size, *blocks)
    kept = read_examples(file, made_from)
    if kept is None:
        kept = painted_by(name, inputs, params, models, Scorer(params.score, device), device, report)
        write_examples(file, made_from, kept)
    return kept


def _print(evaluations: Sequence[Evaluation]) -> None:
    """The smallest leads: of the mix over an arm that trains on defects, of our own painter over a published system."""
    for evaluation in evaluations:
        for verdict in evaluation.verdicts:
            figures = {each.arm: each for each in evaluation.figures if each.detector == verdict.detector}
            single = [arm for arm, each in figures.items() if each.role in _RIVALS and MIX not in arm]
            for arm, rivals in {MIX: single, **dict.fromkeys(OWN, PUBLISHED)}.items():
                if arm in figures:
                    _print_least_lead(evaluation.category, verdict, figures, arm, rivals)


def _print_least_lead(
    category: str, verdict: DetectorVerdict, figures: Mapping[str, Figures], arm: str, rivals: Sequence[str]
) -> None:
    leads = {rival: figures[arm].ahead_of(figures[rival], verdict.metric) for rival in rivals if rival in figures}
    if leads:
        rival, least = min(leads.items(), key=lambda lead: lead[1].value)
        what = f"{arm}, {verdict.detector}, {category}: {verdict.metric} over {rival}"
        what += f", {least.low:+.4f} to {least.high:+.4f}"
        print_figure("worth", least.value, what, "ahead of every rival", least.low > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.worth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--systems", default="", help="names with commas between; by default all")
    parser.add_argument("--out", type=Path, default=Path("docs") / "evaluation")
    return parser


if __name__ == "__main__":
    main()
