"""Golden values: tiny runs of two revisions of this project, compared to the last bit.

    python -m tests.goldens make CHECKOUT FILE.json      runs what lies in a checkout
    python -m tests.goldens compare OLD.json NEW.json    exit code 1 where they differ

A change that should change no result is made between the two. Rounding differs from processor to
processor: compare only what the same machine made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIGS = ("breakout.gin", "breakout_book.gin", "nature.gin", "laptop.gin")
SEEDS = (1, 2, 3)

# `smoke.gin` as it was at 2eeea42, without its video: goldens do not move when that file does.
_TINY = """
create_replay_buffer.capacity_transitions = 4000
create_collector.random_fill_env_steps = 600
create_learner.batch_size = 16
create_agent.target_update_period_train_steps = 24
create_agent.epsilon_decay_env_steps = 400
create_environment.max_episode_steps = 500
train.total_env_steps = 1000
train.log_period_env_steps = 100
train.checkpoint_period_env_steps = 400
train.evaluation_period_env_steps = 1000
train.evaluation_games = 2
train.evaluation_video_seconds = 0
"""
_HALFWAY_ENV_STEPS = 800
_SUMMARY = ("env_steps", "train_steps", "episodes", "average_return", "epsilon", "weights_sha256")
_OF_THE_CLOCK = ("env_steps_per_second", "wall_seconds", "checkpoint_seconds")


def make(checkout: Path, seeds: tuple[int, ...] = SEEDS[:1]) -> dict[str, Any]:
    """Runs every config once through and once with a stop halfway, and plays the shared network."""
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder, "tiny.gin")
        tiny.write_text(_TINY)
        for config in CONFIGS:
            for seed in seeds:
                flags = [f"--gin_file={config}", f"--gin_file={tiny}", f"--seed={seed}"]
                whole, halves = Path(folder, f"{config}{seed}"), Path(folder, f"{config}{seed}-two")
                _run(checkout, "train.py", *flags, f"--run_dir={whole}")
                values[f"{config} seed {seed}"] = _results(whole)
                halfway = f"--gin_bindings=train.total_env_steps={_HALFWAY_ENV_STEPS}"
                _run(checkout, "train.py", *flags, f"--run_dir={halves}", halfway)
                _run(checkout, "train.py", *flags, f"--run_dir={halves}")
                values[f"{config} seed {seed} resumed"] = _results(halves)
        output = Path(folder, "scores.json")
        _run(checkout, "eval.py", "--checkpoint_dir=pretrained/breakout", f"--output={output}")
        scores = json.loads(output.read_text())
        values["pretrained"] = {
            name: scores[name] for name in ("returns", "lengths_env_steps", "weights_sha256")
        }
    return values


def _run(checkout: Path, script: str, *flags: str) -> None:
    subprocess.run(
        [sys.executable, script, *flags],
        cwd=checkout,
        check=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": ""},
    )


def _results(run_dir: Path) -> dict[str, Any]:
    summary = json.loads((run_dir / "summary.json").read_text())
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    evaluations = sorted((run_dir / "evaluations").glob("*.json"))
    return {
        **{name: summary[name] for name in _SUMMARY},
        "rows": {
            row["env_steps"]: {k: v for k, v in row.items() if k not in _OF_THE_CLOCK}
            for row in rows
        },
        "evaluations": {path.stem: json.loads(path.read_text())["returns"] for path in evaluations},
    }


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Every value that is another one in `new`, by the way that leads to it."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{place}/{key}")
        ]
    return [] if old == new else [f"{place}: {old} -> {new}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("checkout", type=Path)
    making.add_argument("file", type=Path)
    making.add_argument("--seeds", type=int, default=1, help="how many seeds, 1 to 3")
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        values = make(given.checkout, SEEDS[: given.seeds])
        given.file.write_text(json.dumps(values, indent=1) + "\n")
        return 0
    lines = differences(json.loads(given.old.read_text()), json.loads(given.new.read_text()))
    print("\n".join(lines) or "Not a value differs.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
