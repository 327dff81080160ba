"""The settings are the detectors' own, do not change, and keep their secrets."""

from __future__ import annotations

import sys
import zoneinfo
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from daemon.config import Config, GroupConfig, defaults, loads
from daemon.config.groups import (
    AlertConfig,
    BudgetThresholdConfig,
    GuardConfig,
    ModelConfig,
    QuantileThresholdConfig,
    SigmaThresholdConfig,
    StaticThresholdConfig,
    TrainingConfig,
)
from daemon.config.life import DriftConfig, TrialConfig
from daemon.errors import ConfigError
from daemon.formats import FieldPaths
from daemon.maintenance import Once, Recurring
from daemon.trial import TrialLimits
from detectors.drift import DriftLimits
from detectors.settings import (
    AlertSettings,
    BudgetThreshold,
    DetectorSettings,
    Guard,
    ModelSettings,
    QuantileThreshold,
    SigmaThreshold,
    StaticThreshold,
    TrainingSettings,
)

PAIRS: list[tuple[type, type[BaseModel], set[str]]] = [
    (ModelSettings, ModelConfig, {"scope", "reconstruct_every_samples"}),
    (TrainingSettings, TrainingConfig, {"repeat_hours", "repeat_samples", "apart_hours"}),
    (AlertSettings, AlertConfig, {"severity"}),
    (StaticThreshold, StaticThresholdConfig, set()),
    (SigmaThreshold, SigmaThresholdConfig, set()),
    (QuantileThreshold, QuantileThresholdConfig, set()),
    (BudgetThreshold, BudgetThresholdConfig, set()),
    (Guard, GuardConfig, set()),
    (DriftLimits, DriftConfig, set()),
    (TrialLimits, TrialConfig, set()),
    (
        DetectorSettings,
        GroupConfig,
        {
            "name",
            "select",
            "join",
            "derive",
            "rename",
            "by",
            "drop",
            "values",
            "max_streams",
            "tenants",
            "evict_after_seconds",
            "learning",
            "drift",
            "trial",
            "maintenance",
        },
    ),
]


ELSEWHERE = {"scope", "reconstruct_every_samples", "is_continual"}  # of a detector: model and learning say it


@pytest.mark.parametrize(("settings", "section", "more"), PAIRS, ids=lambda each: getattr(each, "__name__", ""))
def test_each_setting_of_a_detector_is_a_key(settings: type, section: type[BaseModel], more: set[str]) -> None:
    assert {each.name for each in fields(settings)} - ELSEWHERE | more == set(section.model_fields)


def test_the_shipped_group_is_the_shipped_detector() -> None:
    assert defaults().groups[0].detector() == DetectorSettings()


def test_the_parts_of_a_record_stand_where_the_decoder_looks_by_itself() -> None:
    assert defaults().input.fields.model_dump() == {
        each.name: getattr(FieldPaths(), each.name) for each in fields(FieldPaths)
    }


def test_a_mapping_without_keys_is_the_defaults() -> None:
    assert loads("{}", "x.yaml", {}) == defaults()


def test_what_the_file_says_reaches_the_detector() -> None:
    text = """
groups:
  - name: a
    channels: [cpu, mem]
    model: {hidden: 8}
    training: {seed: 7}
    threshold: {kind: sigma, sigmas: 4}
    alert: {worsening: 2}
    guard: {mem: {min: 1}, cpu: {max: 99}}
    warmup_samples: 5
    gap_max_seconds: 60
"""
    assert loads(text, "x.yaml", {}).groups[0].detector() == DetectorSettings(
        channels=("cpu", "mem"),
        model=ModelSettings(hidden=8),
        training=TrainingSettings(seed=7),
        threshold=SigmaThreshold(4.0),
        alert=AlertSettings(worsening=2.0),
        guard=(("cpu", Guard(max=99.0)), ("mem", Guard(min=1.0))),
        warmup_samples=5,
        gap_max_seconds=60.0,
    )


def test_a_whole_number_of_seconds_is_a_float() -> None:
    assert type(loads("state: {flush_seconds: 3}", "x.yaml", {}).state.flush_seconds) is float


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(defaults(), "threads", 2)  # noqa: B010 - the type checker knows better already


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("':80'", ("", 80)),
        ("'[::1]:0'", ("::1", 0)),
        ("null", None),
    ],
)
def test_the_server_listens_where_it_is_told(listen: str, address: tuple[str, int] | None) -> None:
    assert loads(f"server: {{listen: {listen}}}", "x.yaml", {}).server.address() == address


def test_the_checksum_is_the_same_for_the_same_settings() -> None:
    written = loads("threads: 1\nstate: {flush_seconds: 30}", "x.yaml", {})
    assert written.checksum() == defaults().checksum()
    assert len(written.checksum()) == 64


def test_the_checksum_differs_for_other_settings() -> None:
    assert loads("threads: 2", "x.yaml", {}).checksum() != defaults().checksum()


def secured(password: str) -> Config:
    security = f"protocol: SASL_SSL, sasl_mechanism: PLAIN, username: a, password: {password}"
    return loads(f"kafka: {{security: {{{security}}}}}", "x.yaml", {})


def test_the_checksum_does_not_know_the_password() -> None:
    assert secured("hunter2").checksum() == secured("hunter3").checksum()


def test_a_password_is_shown_nowhere() -> None:
    config = secured("hunter2")
    shown = [repr(config), str(config), str(config.model_dump()), config.model_dump_json(), f"{config.kafka.security}"]
    assert not any("hunter2" in each for each in shown)
    assert all("<secret>" in each for each in shown)


def test_a_password_is_given_to_whoever_asks_for_it() -> None:
    password = secured("hunter2").kafka.security.password
    assert password is not None
    assert password.reveal() == "hunter2"


def test_a_password_file_is_read_without_its_end_of_line(files: Path) -> None:
    security = "protocol: SASL_SSL, sasl_mechanism: PLAIN, username: a, password_file: password"
    config = loads(f"kafka: {{security: {{{security}}}}}", str(files / "x.yaml"), {})
    password = config.kafka.security.password
    assert password is not None
    assert password.reveal() == "hunter2-from-file"
    assert "hunter2" not in f"{config!r} {config.model_dump_json()}"


def test_a_relative_file_is_looked_up_beside_the_configuration(files: Path) -> None:
    config = loads("kafka: {security: {protocol: SSL, ca_file: ca.pem}}", str(files / "x.yaml"), {})
    assert config.kafka.security.ca_file == str(files / "ca.pem")


def test_a_variable_adds_no_keys_and_no_types() -> None:
    config = loads("kafka: {client_id: '${ID}'}", "x.yaml", {"ID": "true"})
    assert config.kafka.client_id == "true"


def test_two_dollars_stand_for_one() -> None:
    config = loads("groups: [{name: a, select: ['path=\"$${HOME}/${DIR}\"']}]", "x.yaml", {"DIR": "d"})
    assert config.groups[0].select[0].value == "${HOME}/d"


@pytest.mark.parametrize(
    ("told", "protection"),
    [
        ("{}", "HTTP, open"),
        ("{token_file: TOKEN}", "HTTP, with a token"),
        ("{cert_file: TOKEN, username: a, password_file: TOKEN}", "HTTPS, with a password"),
        ("{username: a, password_file: TOKEN, token_file: TOKEN}", "HTTP, with a password or a token"),
    ],
)
def test_how_the_pages_are_protected_is_told_in_words(told: str, protection: str, files: Path) -> None:
    text = told.replace("TOKEN", str(files / "token"))
    assert loads(f"server: {text}", "x.yaml", {}).server.protection() == protection


def test_the_windows_of_all_groups_are_each_groups_own_too() -> None:
    text = """
maintenance: [{starts_at: 2026-03-01T20:00:00Z, ends_at: 2026-03-01T22:00:00Z}]
groups:
  - name: a
    select: ['job="a"']
    maintenance:
      - weekdays: ["friday:monday"]
        months: ["11:2"]
        days_of_month: ["-1"]
        times: [{start_time: 22:00, end_time: 02:30}]
        guards: false
  - name: b
"""
    config = loads(text, "test", {})
    a, b = (config.maintained(each).calendar().windows for each in config.groups)
    assert a[:1] == b == (Once(1_772_395_200_000, 1_772_402_400_000),)
    days, months = frozenset({4, 5, 6, 0}), frozenset({11, 12, 1, 2})
    assert a[1:] == (Recurring(((22 * 60, 150),), days, ((-1, -1),), months, guards=False),)


def test_a_machine_without_time_zone_data_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "tzdata"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tzdata", None)
    text = "maintenance: [{weekdays: [saturday], location: %s}]"
    zoneinfo.ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(())
    try:
        with pytest.raises(ConfigError, match=r"maintenance\[0\].location: .* no time zone data: install .* tzdata"):
            loads(text % "Europe/Berlin", "test", {})
        assert loads(text % "UTC", "test", {}).maintenance
    finally:
        zoneinfo.reset_tzpath()
