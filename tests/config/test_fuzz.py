"""Whatever a file holds, it is a configuration or a list of problems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.config import Config, loads
from daemon.config.catalogue import keys
from daemon.errors import ConfigError

FILES = sorted(Path(__file__).parent.glob("*/*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FILES]
NAMES = sorted({part.removesuffix("[]") for key in keys() for part in key.path.split(".")})

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["static", "sigma", "quantile", "json", "telegraf_json", "SASL_SSL", "PLAIN", "OAUTHBEARER", "a:1"]
    ),
    st.sampled_from(['job="a"', 'host=~"b.*"', "${HOSTNAME}", "${FILES}/password", "${NOT_SET}", "cpu", "value"]),
)
KEYS = st.sampled_from(NAMES) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)


def outcome(text: str, env: Mapping[str, str]) -> Config | ConfigError:
    try:
        return loads(text, "fuzz.yaml", env)
    except ConfigError as error:
        return error


def is_usable(found: Config | ConfigError) -> bool:
    if isinstance(found, Config):
        return len(found.checksum()) == 64 and all(group.detector() for group in found.groups)
    printed = str(found).encode().decode()
    named = all(each.startswith("fuzz.yaml") and "\n" not in each for each in found.problems)
    return named and printed.splitlines() != []


quietly = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@quietly
@given(text=st.text(max_size=300))
def test_any_text_is_a_configuration_or_problems(text: str, env: Mapping[str, str]) -> None:
    assert is_usable(outcome(text, env))


@quietly
@given(data=st.data())
def test_a_damaged_file_is_a_configuration_or_problems(data: st.DataObject, env: Mapping[str, str]) -> None:
    lines = data.draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = data.draw(st.integers(0, len(line)))
        piece = data.draw(
            st.sampled_from(["", " ", ":", "- ", "{", "]", "'", '"', "&a ", "*a", "!", "${", "#", "9", "é"])
        )
        lines[at : at + 1] = data.draw(
            st.sampled_from([[], [line, line], [line[:cut] + piece + line[cut:]], [line[:cut]], [f"  {line}"]])
        )
        lines = lines or [""]
    assert is_usable(outcome("\n".join(lines), env))


@quietly
@given(value=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
def test_any_values_under_known_keys_are_a_configuration_or_problems(value: object, env: Mapping[str, str]) -> None:
    assert is_usable(outcome(yaml.safe_dump(value, allow_unicode=True), env))
