"""The table: a row for each detector, a column for each measure, and how far ours is ahead, with an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.accuracy.bootstrap import difference
from benchmarks.accuracy.measures import Measure

Results = Mapping[str, Mapping[str, Mapping[str, Measure]]]
"""Measures by corpus, detector and name."""

OURS: Final = "ours"
SERVERS: Final = ("asd", "smd")
RANGES: Final = (
    "VUS-PR",
    "best F1",
    "F1/best alert",
    "F1/best score>=1",
    "recall",
    "recall opened",
    "false/1440",
    "worst false/1440",
)
SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "nab": (
        "standard",
        "low_fp",
        "low_fn",
        "standard swept",
        "standard level",
        "low_fp swept",
        "low_fn swept",
        "windows hit",
        "false/1440",
    ),
    "asd": RANGES,
    "smd": RANGES,
    "skab": ("VUS-PR", "F1", "FAR", "MAR", "F1 alert", "best F1", "recall", "false/1440"),
}
COMPARED: Final = {"nab": "standard", "asd": "VUS-PR", "smd": "VUS-PR", "skab": "VUS-PR"}
DIGITS: Final = {"standard": 2, "low_fp": 2, "low_fn": 2, "standard swept": 2, "low_fp swept": 2, "low_fn swept": 2}
DIGITS_USUAL: Final = 3


@dataclass(frozen=True, slots=True)
class Table:
    """Text in cells, the first row being the header."""

    title: str
    cells: Sequence[Sequence[str]]

    def plain(self) -> str:
        """Return it for a terminal."""
        widths = [max(len(row[i]) for row in self.cells) for i in range(len(self.cells[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in self.cells]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])

    def markdown(self) -> str:
        """Return it for a page."""
        head, *rows = ["| " + " | ".join(row) + " |" for row in self.cells]
        return "\n".join([f"## {self.title}", "", head, "|" + "---|" * len(self.cells[0]), *rows])

    def html(self) -> str:
        """Return it for a browser."""
        rows = ["".join(f"<{kind}>{cell}</{kind}>" for cell in row) for row, kind in _kinds(self.cells)]
        return f"<h2>{self.title}</h2>\n<table>" + "".join(f"<tr>{row}</tr>\n" for row in rows) + "</table>"


def _kinds(cells: Sequence[Sequence[str]]) -> Iterator[tuple[Sequence[str], str]]:
    return ((row, "td" if i else "th") for i, row in enumerate(cells))


def tables(results: Results, titles: Mapping[str, str]) -> list[Table]:
    """Return one table for each corpus, and one for ASD and SMD together when both are there."""
    found = [_of_corpus(corpus, results[corpus], titles[corpus]) for corpus in results]
    if all(corpus in results for corpus in SERVERS):
        found.append(_of_servers(results))
    return found


def _of_corpus(corpus: str, results: Mapping[str, Mapping[str, Measure]], title: str) -> Table:
    compared, cells = COMPARED[corpus], [["detector", "seeds", *SHOWN[corpus], f"ours minus it: {COMPARED[corpus]}"]]
    for name, measures in results.items():
        values = [f"{measures[each].median:.{DIGITS.get(each, DIGITS_USUAL)}f}" for each in SHOWN[corpus]]
        ahead = ""
        if name != OURS and OURS in results:
            ahead = str(difference([(results[OURS][compared], measures[compared])]))
        cells.append([name, str(len(measures[compared].values)), *values, ahead])
    return Table(title, cells)


def _of_servers(results: Results) -> Table:
    cells = [["detector", "mean VUS-PR", "ours minus it"]]
    for name in results[SERVERS[0]]:
        if all(name in results[corpus] for corpus in SERVERS):
            each = [results[corpus][name]["VUS-PR"] for corpus in SERVERS]
            ahead = ""
            if name != OURS and all(OURS in results[corpus] for corpus in SERVERS):
                mine = [results[corpus][OURS]["VUS-PR"] for corpus in SERVERS]
                ahead = str(difference(list(zip(mine, each, strict=True))))
            cells.append([name, f"{sum(one.median for one in each) / len(each):.3f}", ahead])
    return Table("ASD and SMD together", cells)
