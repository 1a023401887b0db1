"""Which photographs show one physical object, by a rule on their names.

In: the photographs of one source and its `group_rule`. Out: the same, each with its object. Why: several exposures
of one object in both train and test let a detector recognise the object instead of the defect.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from tasks.contracts import DefectoryError
from tasks.inputs.listing import ListedImage


def with_objects(images: Sequence[ListedImage], rule: str) -> list[ListedImage]:
    """Name the physical object of every photograph, in the given order.

    Within a folder and label, photographs are sorted by the rule's `number`; a new object begins wherever its
    `exposure` does not rise, or, in a rule without `exposure`, wherever the number changes. A photograph whose path
    the rule does not match is an object of its own. Raises DefectoryError for a rule that is no regular expression,
    has no group `number`, or matches no photograph.
    """
    if not rule:
        return [replace(image, physical_object=image.image_id) for image in images]
    numbered = _numbered(images, _compiled(rule))
    if images and not numbered:
        raise DefectoryError(f"group_rule {rule!r} matches none of {len(images)} paths such as {images[0].path!r}")
    objects = dict(_objects(numbered))
    return [replace(image, physical_object=objects.get(image, image.image_id)) for image in images]


_Numbered = tuple[int, int | None, ListedImage]


def _compiled(rule: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise DefectoryError(f"group_rule {rule!r} is not a regular expression: {error}") from None
    if "number" not in pattern.groupindex:
        raise DefectoryError(f"group_rule {rule!r} needs a named group '(?P<number>...)'")
    return pattern


def _numbered(images: Sequence[ListedImage], pattern: re.Pattern[str]) -> list[_Numbered]:
    found = []
    for image in images:
        match = pattern.search(image.path)
        if match:
            parts = match.groupdict()
            exposure = parts.get("exposure")
            found.append((_integer(parts["number"], image), exposure and _integer(exposure, image), image))
    return found  # type: ignore[return-value]


def _integer(text: str, image: ListedImage) -> int:
    try:
        return int(text)
    except ValueError:
        raise DefectoryError(f"group_rule: {text!r} in {image.path!r} is not a whole number") from None


def _objects(numbered: Sequence[_Numbered]) -> Iterator[tuple[ListedImage, str]]:
    folders: dict[tuple[object, ...], list[_Numbered]] = defaultdict(list)
    for entry in numbered:
        folders[(*entry[2].label, PurePosixPath(entry[2].path).parent)].append(entry)
    for entries in folders.values():
        ordered = sorted(entries, key=lambda entry: (entry[0], entry[1] or 0, entry[2].path))
        name = ""
        for position, entry in enumerate(ordered):
            if position == 0 or _begins(ordered[position - 1], entry):
                name = entry[2].image_id
            yield entry[2], name


def _begins(previous: _Numbered, entry: _Numbered) -> bool:
    if previous[1] is None or entry[1] is None:
        return previous[0] != entry[0]
    return entry[1] <= previous[1]
