"""Nothing in the house is bigger than a reader can hold in mind."""

from __future__ import annotations

import statistics

import pytest

from tests.house import tree

FUNCTION_LINES_MAX = 70
FUNCTION_LINES_P95 = 38
FUNCTION_LINES_MEDIAN = 8
FILE_LINES_MAX = 400
FILE_LINES_P95 = 300
PARAMETERS_MAX = 6


def percentile95(values: list[int]) -> int:
    return sorted(values)[int(0.95 * len(values))]


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{source.path}:{function.lineno} {function.name} has {tree.code_lines(function)} lines"
        for source in tree.sources()
        for function in tree.functions(source)
        if tree.code_lines(function) > FUNCTION_LINES_MAX
    ]
    assert not long, tree.listed(long, "a noun is missing: name it and split")


def test_most_functions_are_read_at_a_glance() -> None:
    lines = [tree.code_lines(function) for source in tree.product() for function in tree.functions(source)]
    assert statistics.median(lines) <= FUNCTION_LINES_MEDIAN
    assert percentile95(lines) <= FUNCTION_LINES_P95


def test_no_file_is_longer_than_one_sitting() -> None:
    long = [f"{each.path} has {len(each.lines)} lines" for each in tree.sources() if len(each.lines) > FILE_LINES_MAX]
    assert not long, tree.listed(long, "split it where a reader would turn the page")


def test_most_files_are_short() -> None:
    assert percentile95([len(each.lines) for each in tree.product()]) <= FILE_LINES_P95


def test_no_function_takes_more_than_six_parameters() -> None:
    wide = [
        f"{source.path}:{function.lineno} {function.name} takes {tree.parameters(function)}"
        for source in tree.sources()
        for function in tree.functions(source)
        if tree.parameters(function) > PARAMETERS_MAX and not function.name.startswith("test_")
    ]
    assert not wide, tree.listed(wide, "parameters that travel together are a dataclass without a name")


@pytest.mark.parametrize(
    ("text", "lines", "parameters"),
    [
        ("def f(): pass", 1, 0),
        ('def f(self, a, /, b, *, c):\n    """One\n\n    more.\n    """\n    return a', 2, 3),
        ("async def f(\n    a,\n    b,\n): ...", 4, 2),
    ],
)
def test_docstring_and_self_do_not_count(text: str, lines: int, parameters: int) -> None:
    (function,) = tree.functions(tree.source("sample.py", text))
    assert (tree.code_lines(function), tree.parameters(function)) == (lines, parameters)
