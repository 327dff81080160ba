"""Pictures show what they are given, and the same curves give the same text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from daemon.plots import Heat, Line, Panel, svg

X = np.arange(50.0)
PANELS = (
    Panel("value", [Line("seen", X, np.sin(X)), Line("told", X, np.cos(X), np.cos(X) - 1, np.cos(X) + 1)]),
    Panel("score", [Line("score", X, X / 25.0)], spans=[(10.0, 20.0)], marks=[30.0], levels=[1.0]),
)


def test_a_picture_is_well_formed_and_names_its_curves_and_panels() -> None:
    picture = svg(PANELS, title="one <stream>", x_name="samples")
    texts = {element.text for element in ET.fromstring(picture).iter() if element.tag.endswith("text")}
    assert {"seen", "told", "value", "score", "one <stream>", "samples"} <= texts


def test_the_same_curves_give_the_same_picture() -> None:
    assert svg(PANELS, title="a", x_name="x") == svg(PANELS, title="a", x_name="x")


def test_a_gap_in_the_numbers_is_a_gap_in_the_curve() -> None:
    broken = np.where((X > 20) & (X < 30), np.nan, X)
    whole = svg([Panel("p", [Line("l", X, X)])], title="t", x_name="x")
    assert svg([Panel("p", [Line("l", X, broken)])], title="t", x_name="x") != whole


def test_colours_stand_over_the_same_axis_as_curves_and_cut_none_of_them_off() -> None:
    heat = Panel("cells", heat=Heat(X[:20], np.outer(np.arange(4.0), X[:20]), -60.0, 60.0))
    picture = svg([PANELS[0], heat], title="t", x_name="x")
    assert ET.fromstring(picture).find(".//{*}image") is not None
    assert any(element.text == "40" for element in ET.fromstring(picture).iter())
    assert picture == svg([PANELS[0], heat], title="t", x_name="x")
    one = Panel("one", heat=Heat(X[:1], np.full((4, 1), np.nan), 0.0, 1.0))
    ET.fromstring(svg([one], title="t", x_name="x"))


def test_what_looks_like_a_formula_is_told_as_it_stands() -> None:
    assert "a$_{b$c" in svg(PANELS, title="a$_{b$c", x_name="x")
