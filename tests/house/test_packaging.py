"""The wheel holds the two packages and nothing else, and what it installs is ours."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house import tree

SLOW_TO_IMPORT = {"torch", "pydantic", "kafka", "pyarrow"}


@dataclass(frozen=True, slots=True)
class Installed:
    """A fresh environment with the wheel in it; what the wheel depends on is lent by the one that runs the tests."""

    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment's bin folder, away from the checkout."""
        program, *rest = arguments
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return subprocess.run(
            [self.folder / "bin" / program, *rest],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built without network from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in tree.files():
        (folder / "checkout" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.ROOT / path, folder / "checkout" / path)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    pip("wheel", *options, str(folder / "checkout"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Return a fresh environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip("--python", str(folder / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A path in a .pth file is searched last and its own .pth files are not read: the checkout stays out of sight.
    lent = "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (folder / "lib" / version / "site-packages" / "lent.pth").write_text(lent, encoding="utf-8")
    return Installed(folder)


def pip(*arguments: str) -> None:
    """Run pip; its own words are the error when it fails."""
    result = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_wheel_holds_every_file_of_the_two_packages_and_no_other(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not re.match(r"longwatch-[^/]*/", name)}
    assert held == {path for path in tree.files() if path.startswith(("daemon/", "detectors/"))}


def test_types_are_shipped(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert {"daemon/py.typed", "detectors/py.typed"} <= set(held)


def test_command_answers_without_importing_what_is_slow(installed: Installed) -> None:
    result = installed.run("python", "-X", "importtime", str(installed.folder / "bin/longwatch"), "--help")
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines()}
    assert result.returncode == 0, result.stderr
    assert "usage: longwatch" in result.stdout
    assert "argparse" in imported
    assert not imported & SLOW_TO_IMPORT


def test_module_runs_like_the_command(installed: Installed) -> None:
    result = installed.run("python", "-m", "daemon", "--help")
    assert "usage: longwatch" in result.stdout, result.stderr


def test_imported_packages_are_the_wheels_own(installed: Installed) -> None:
    result = installed.run("python", "-c", "import daemon, detectors; print(daemon.__file__, detectors.__file__)")
    assert result.stdout.count(str(installed.folder)) == 2, result.stdout + result.stderr


def test_commented_configuration_is_installed_with_the_command(installed: Installed) -> None:
    for name in ("longwatch.yaml", "schema.json"):
        given = (installed.folder / "share/longwatch" / name).read_text(encoding="utf-8")
        assert given == (tree.ROOT / "config" / name).read_text(encoding="utf-8")


def test_version_is_said_once(installed: Installed, wheel: Path) -> None:
    version = re.match(r"longwatch-([\d.]+)-py3-none-any", wheel.name)
    assert version is not None
    assert installed.run("python", "-c", "import daemon; print(daemon.__version__)").stdout.strip() == version[1]


def test_nobody_else_here_provides_a_package_of_that_name() -> None:
    owners = importlib.metadata.packages_distributions()
    assert [set(owners[package]) for package in tree.PRODUCT] == [{"longwatch"}, {"longwatch"}]
