"""What ships in config/ loads, is the defaults, and agrees with the generated schema and reference."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from daemon.config import defaults, load, loads, schema
from daemon.config.__main__ import generated, main
from daemon.config.catalogue import Key, keys

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config" / "longwatch.yaml"
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
GOOD = sorted((Path(__file__).parent / "good").glob("*.yaml"))


def plain(path: Path) -> object:
    # The schema describes YAML 1.2; PyYAML's own loader agrees with it on the files that ship.
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", [SHIPPED, *EXAMPLES], ids=lambda path: path.stem)
def test_what_ships_is_loaded(path: Path, env: Mapping[str, str]) -> None:
    assert load(path, env).groups


@pytest.mark.parametrize("path", [SHIPPED, *EXAMPLES], ids=lambda path: path.stem)
def test_what_ships_tells_the_editor_where_the_schema_is(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None
    assert (path.parent / named[1]).resolve() == ROOT / "config" / "schema.json"


def test_the_shipped_file_is_the_defaults() -> None:
    assert load(SHIPPED, {}) == defaults()


def test_what_is_commented_out_in_the_shipped_file_is_the_defaults_too() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    whole, count = re.subn(r"^( *)#((?:  )*[a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    assert count >= 20
    assert loads(whole, "whole.yaml", {}) == defaults()


def test_the_shipped_file_has_its_sections_in_the_order_of_the_settings() -> None:
    sections = re.findall(r"^#?([a-z]+):$", SHIPPED.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == ["kafka", "input", "groups", "state", "outputs", "server", "logging"]


@pytest.mark.parametrize("name", sorted(generated()))
def test_a_generated_file_is_fresh(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name], "run `python -m daemon.config`"


def test_the_generator_writes_what_it_generates(tmp_path: Path) -> None:
    main([str(tmp_path)])
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in generated()} == generated()


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("path", [SHIPPED, *EXAMPLES], ids=lambda path: path.stem)
def test_what_ships_agrees_with_the_schema(path: Path) -> None:
    jsonschema.Draft7Validator(schema()).validate(plain(path))


@pytest.mark.parametrize(
    "instance",
    [
        {"state": {"flush_secnds": 30}},
        {"threads": "2"},
        {"groups": [{"select": []}]},
        {"groups": [{"name": "a", "threshold": {"kind": "sigma", "limit": 3}}]},
        {"logging": {"level": "warn"}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_what_the_loader_refuses(instance: object) -> None:
    assert not jsonschema.Draft7Validator(schema()).is_valid(instance)


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.path)
def test_every_key_says_what_it_means(key: Key) -> None:
    assert key.meaning.strip().endswith(".")


def test_the_reference_names_every_key() -> None:
    text = generated()["docs/configuration.md"]
    missing = [key.path for key in keys() if f"`{key.path}`" not in text and f"### {key.path}" not in text]
    assert not missing
