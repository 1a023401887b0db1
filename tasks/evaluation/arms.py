"""The arms of an evaluation: the dataset under test, and everything that it has to be better than.

In: a category's photographs and its synthetic examples. Out: arms that differ in their defects alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.detectors.protocol import Arm, Example, SyntheticSet
from tasks.evaluation.examples import Photographs, shuffled
from tasks.seeds import choose

FEW_REAL, SHUFFLED, NORMALS, ALL_REAL = "few real", "shuffled masks", "normals only", "all real"
_FOLDS = 2


def arms_of(photographs: Photographs, synthetic: Sequence[SyntheticSet]) -> list[Arm]:
    """The arms of one category; sets without an example are left out.

    With real train defects come the arms `few real` and `few real + …` for each set under test, and with masked real
    test defects the ceiling, in parts of one name. The first set under test also makes the control.
    """
    normals, real = photographs.normals, photographs.defects
    made = [each for each in synthetic if each.examples]
    ours = [each for each in made if each.role == "ours"]
    arms = [Arm(each.name, each.role, normals, each.examples) for each in made]
    if real:
        arms.append(Arm(FEW_REAL, "real", normals, real))
        arms += [Arm(f"{FEW_REAL} + {each.name}", "real", normals, real + each.examples) for each in ours]
    if ours and len(ours[0].examples) > 1:
        arms.append(Arm(SHUFFLED, "control", normals, shuffled(ours[0].examples)))
    arms.append(Arm(NORMALS, "floor", normals, ()))
    return [*arms, *_ceiling(photographs)]


def _ceiling(photographs: Photographs) -> Iterator[Arm]:
    """Cross-fitting: each part trains on all real defects but those of its fold. Physical objects stay together."""
    tested = [example for example in photographs.test.examples if example.defective]
    if any(example.mask is None for example in tested):
        return
    for fold in _folds(tested):
        held_out = frozenset(example.example_id for example in fold)
        rest = tuple(example for example in tested if example.example_id not in held_out)
        if fold and photographs.defects + rest:
            yield Arm(ALL_REAL, "ceiling", photographs.normals, photographs.defects + rest, unseen=held_out)


def _folds(examples: Sequence[Example]) -> list[list[Example]]:
    """By hash of the physical object, of each defect type in equal parts."""
    folds: list[list[Example]] = [[] for _ in range(_FOLDS)]
    placed: dict[str, int] = {}
    for defect_type in sorted({example.defect_type for example in examples}):
        groups = {example.group for example in examples if example.defect_type == defect_type}
        for number, group in enumerate(choose(groups, len(groups))):
            placed.setdefault(group, number % _FOLDS)
    for example in examples:
        folds[placed[example.group]].append(example)
    return folds
