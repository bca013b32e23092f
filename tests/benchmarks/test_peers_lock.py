"""The peers' lock: without PyTorch's NVIDIA libraries, and in step with the project's."""

from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text().splitlines()
    found = [Requirement(line.rstrip("\\ ")) for line in lines if line[:1].isalnum()]
    return {each.name: str(each.specifier) for each in found}


def test_pytorch_is_pinned_apart_and_comes_without_nvidia() -> None:
    locked = pins("benchmarks/requirements-peers.lock")
    assert "stable-baselines3" in locked
    assert not [name for name in locked if name.startswith(("nvidia", "cuda", "triton", "torch"))]
    assert pins("benchmarks/requirements-torch.txt") == {"torch": "==2.13.0"}


def test_both_play_the_same_emulator() -> None:
    ours, theirs = pins("requirements.lock"), pins("benchmarks/requirements-peers.lock")
    for package in ("ale-py", "gymnasium", "numpy", "opencv-python-headless"):
        assert ours[package] == theirs[package], "run `make lock`"
