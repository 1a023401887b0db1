import numpy as np

from tasks.release.sheets import AMPLIFICATION, SheetRow, amplify, draw_sheet, encode_sheet
from tasks.seeds import choose


def row(caption: str, grey: int) -> SheetRow:
    clean = np.full((48, 48, 3), grey, np.uint8)
    result = clean.copy()
    result[10:20, 10:20] -= 30
    mask = np.zeros((48, 48), bool)
    mask[10:20, 10:20] = True
    return SheetRow(caption, clean, mask, mask, result)


def test_the_choice_depends_on_names_alone_and_a_smaller_one_is_part_of_a_larger_one() -> None:
    names = [f"a-{number:06d}" for number in range(200)]
    assert choose(names, 8) == choose(reversed(names), 8)
    assert choose(names, 3) == choose(names, 8)[:3]
    assert choose(names, 8) != names[:8]
    assert sorted(choose(names[:5], 8)) == names[:5]


def test_the_difference_is_amplified_and_does_not_wrap() -> None:
    clean = np.full((2, 2, 3), 100, np.uint8)
    result = clean.copy()
    result[0, 0], result[1, 1] = 90, 200
    difference = amplify(clean, result)
    assert difference[0, 0, 0] == 10 * AMPLIFICATION
    assert difference[1, 1, 0] == 255
    assert difference[0, 1, 0] == 0


def test_a_sheet_grows_by_its_rows_and_is_the_same_each_time() -> None:
    rows = [row(f"sample {number}", 60 + 40 * number) for number in range(4)]
    sheets = [draw_sheet("cells", rows[:accepted], rows[:rejected]) for accepted, rejected in ((2, 0), (3, 0), (3, 1))]
    heights = [sheet.height for sheet in sheets]
    assert heights == sorted(set(heights))
    assert len({sheet.width for sheet in sheets}) == 1
    assert encode_sheet(sheets[2]) == encode_sheet(draw_sheet("cells", rows[:3], rows[:1]))


def test_a_category_without_any_sample_has_a_sheet_with_its_title() -> None:
    assert np.ptp(np.asarray(draw_sheet("cells: 0 accepted, 0 rejected", [], []))) > 100
