import re

import numpy as np

from tasks.release.histogram import histogram


def heights(svg: str, kind: str) -> float:
    return sum(float(height) for height in re.findall(rf'class="{kind}"[^>]* height="([\d.]+)"', svg))


def test_every_sample_is_drawn_once_in_its_colour() -> None:
    svg = histogram("change", np.array([1.0, 2.0, 2.0, np.nan]), np.array([0.1]), None)
    unit = heights(svg, "rejected")
    assert unit > 0
    assert abs(heights(svg, "accepted") - 3 * unit) < 0.5


def test_the_threshold_is_in_the_picture_even_beyond_all_samples() -> None:
    svg = histogram("change", np.array([1.0, 2.0]), np.array([]), 6.0)
    assert "threshold 6" in svg
    assert 'x1="340.0"' in svg


def test_equal_values_no_values_and_strange_titles_are_no_trouble() -> None:
    assert histogram("none", np.array([np.inf]), np.array([]), 1.0) == ""
    svg = histogram('a < "b"', np.array([3.0, 3.0]), np.array([]), None)
    assert "nan" not in svg
    assert 'aria-label="a &lt; &quot;b&quot;"' in svg
