"""The locks hold what pyproject.toml declares, pinned and hashed, and name no place to fetch it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-cuda.lock")


def entries(lock: str) -> list[str]:
    """The lock's logical lines, without comments."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(lock: str) -> dict[str, str]:
    """Package -> version of a lock."""
    found = {}
    for entry in entries(lock):
        if not entry.startswith("--"):
            requirement = Requirement(entry.partition("--hash")[0])
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", entry
            assert requirement.name not in found, "one version for every Python and platform"
            found[requirement.name] = specifier.version
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_hashed_and_a_wheel(lock: str) -> None:
    option, *packages = entries(lock)
    assert option == "--only-binary :all:"
    for package in packages:
        assert re.fullmatch(r"[^-\s][^=]*==.*?( +--hash=sha256:[0-9a-f]{64})+", package), package


@pytest.mark.parametrize("lock", LOCKS)
def test_no_address_stands_in_a_lock(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_the_project_declares(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = pins(lock)
    for declared in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        requirement = Requirement(declared)
        assert requirement.specifier.contains(locked[requirement.name]), "run `make lock`"
    assert not {"gym", "pygame"} & locked.keys()


def test_the_cuda_lock_adds_nvidias_libraries_alone() -> None:
    plain, cuda = (pins(lock) for lock in LOCKS)
    assert plain.items() <= cuda.items()
    added = cuda.keys() - plain.keys()
    assert added
    assert all(name.startswith("nvidia-") for name in added)
