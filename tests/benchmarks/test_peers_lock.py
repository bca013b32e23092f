"""The peers' lock: hashed, without PyTorch's NVIDIA libraries, and in step with the project's."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def entries(lock: str) -> list[str]:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith(("#", "--"))]


def pins(lock: str) -> dict[str, str]:
    requirements = [Requirement(entry.partition("--hash")[0]) for entry in entries(lock)]
    return {each.name: str(each.specifier) for each in requirements}


def test_every_package_is_hashed_and_no_address_stands_there() -> None:
    lock = "benchmarks/requirements-peers.lock"
    for entry in entries(lock):
        assert re.fullmatch(r"[^-\s][^=]*==.*?( +--hash=sha256:[0-9a-f]{64})+", entry), entry
    assert "://" not in (ROOT / lock).read_text()


def test_pytorch_is_pinned_apart_and_comes_without_nvidia() -> None:
    locked = pins("benchmarks/requirements-peers.lock")
    assert "stable-baselines3" in locked
    assert "torch" not in locked
    assert not [name for name in locked if name.startswith(("nvidia", "cuda", "triton"))]
    assert entries("benchmarks/requirements-torch.txt") == ["torch==2.13.0"]


def test_both_play_the_same_emulator() -> None:
    ours, theirs = pins("requirements.lock"), pins("benchmarks/requirements-peers.lock")
    for package in ("ale-py", "gymnasium", "numpy", "opencv-python-headless"):
        assert ours[package] == theirs[package], "run `make lock`"
