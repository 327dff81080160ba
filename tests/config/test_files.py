"""Good files load; bad files, named by their fault, have exactly the problems that they announce."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.config import load
from daemon.errors import ConfigError

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
BAD = sorted((HERE / "bad").glob("*.yaml"))


def problems(path: Path, env: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, env)
    return caught.value.problems


def test_there_are_files_of_both_kinds() -> None:
    assert len(GOOD) >= 10
    assert len(BAD) >= 80


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_is_loaded(path: Path, env: Mapping[str, str]) -> None:
    assert load(path, env).groups


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_has_the_problems_that_its_first_lines_name_and_no_other(path: Path, env: Mapping[str, str]) -> None:
    named = re.findall(r"^# expect: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert problems(path, env) == [f"{path}:{each}" for each in named]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_problem_says_where_it_is_what_was_found_and_what_was_expected(path: Path, env: Mapping[str, str]) -> None:
    shape = re.compile(rf"{re.escape(str(path))}:\d+: ([^ ]+: )?found .+")
    assert all(shape.fullmatch(each) for each in problems(path, env))
    assert all("expected" in each or "not YAML" in each for each in problems(path, env))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_problem_shows_no_secret(path: Path, env: Mapping[str, str]) -> None:
    assert not any("hunter2" in each or "1234567" in each for each in problems(path, env))


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    wanted = f"{path}: found no file that can be read (No such file or directory), expected a YAML file"
    assert problems(path, {}) == [wanted]


def test_a_file_of_other_bytes_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_bytes(b"kafka: \xff\n")
    assert "not UTF-8" in problems(path, {})[0]


def test_a_control_character_is_a_problem_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "control.yaml"
    path.write_bytes(b"threads: 1\nkafka: \x07\n")
    assert problems(path, {})[0].startswith(f"{path}:2: found a character that YAML does not allow")


def test_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    path = tmp_path / "marked.yaml"
    path.write_bytes(b"\xef\xbb\xbfthreads: 3\n")
    assert load(path, {}).threads == 3


def test_a_huge_file_is_a_problem_and_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * 2_000_000)
    assert "found more than 1048576 bytes" in problems(path, {})[0]


def test_a_file_of_more_values_than_settings_need_is_refused_early(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text(f"groups: [{'1,' * 200_000}]", encoding="utf-8")
    assert "at most 50000 values" in problems(path, {})[0]


def test_a_problem_keeps_to_its_line_whatever_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "lines.yaml"
    path.write_text('"a\\nb": 1\ngroups: [{name: a, select: ["a=~\\"(?\\n\\""], channels: ["\\n"]}]', encoding="utf-8")
    assert not any("\n" in each for each in problems(path, {}))


def test_a_file_with_more_problems_than_anyone_reads_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text("".join(f"key_{index}: 1\n" for index in range(150)), encoding="utf-8")
    found = problems(path, {})
    assert len(found) == 101
    assert found[-1].endswith("and 50 more problems")
