"""Damages every file of a run, one at a time: a bit flipped, cut short, removed.

Where only the newest checkpoint needs a file, it is named and the one before is used. Where all
need it, or it says what the run is of, the run is refused with one clear error and nothing is
changed. What no checkpoint needs (the log, TensorBoard's events, the summary) may cost what it
held, never the run.
"""

from __future__ import annotations

import functools
import random
import shutil
from pathlib import Path

from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos.campaign import Case, Trial
from tests.chaos.run_outcome import snapshot
from tests.chaos.tiny_run import flags
from tests.chaos.train_process import TrainProcess

PATH = "fast"
DAMAGES = ("a bit flipped", "cut short", "removed")
# The run stops here, with two checkpoints, and goes on after the damage.
_STOPPED_AT = "--gin_bindings=train.total_env_steps = 250"
# A run goes on without them; what the log held is gone with it.
_LOGS = ("metrics.jsonl", "summary.json", "tensorboard/", "evaluations/")


def cases(work_dir: Path) -> list[Case]:
    """Each damage to each file of a run in the middle of its budget."""
    return [
        Case(f"{name}, {damage}", PATH, functools.partial(damaged, name, damage))
        for name in snapshot(stopped_run(work_dir).path)
        for damage in DAMAGES
    ]


def stopped_run(work_dir: Path) -> RunDirectory:
    """A run in the middle of its budget, made once."""
    run = RunDirectory(work_dir / "stopped")
    if not run.summary_json.exists():
        ended = TrainProcess(flags(PATH, run.path, _STOPPED_AT), run.path).wait()
        assert ended.code == 0, ended.err
        saved = len(checkpoint_files.checkpoints(run.checkpoints))
        assert saved == 2, f"{saved} checkpoints: there must be one to go back to"
    return run


def apply(damage: str, path: Path) -> None:
    """Does the damage to a file; where a bit is flipped is always the same for the same name."""
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    else:
        chance = random.Random(path.name)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def damaged(name: str, damage: str, trial: Trial) -> None:
    """One file damaged in one way, and the same command given again."""
    stopped = stopped_run(trial.work_dir)
    run = trial.run
    shutil.copytree(stopped.path, run.path)
    apply(damage, run.path / name)
    before = snapshot(run.path)
    ended = trial.start().wait()
    went_back = [line for line in ended.err.splitlines() if line.startswith("Damaged checkpoint ")]
    if ended.code == 2:
        trial.told["it"] = "refused"
        # A segment or a checkpoint by its path; a record by its name.
        trial.must_end(ended, 2, name.split("/")[-1])
        trial.must(len(ended.err.splitlines()) == 1, f"more than a sentence: {ended.err}")
        trial.must(snapshot(run.path) == before, "something was changed or deleted")
    elif trial.must_end(ended):
        trial.told["it"] = "went back" if went_back else "unharmed"
        trial.must(all(name in line for line in went_back), f"it is not named: {went_back}")
        trial.must_be_as_left_alone(logs="any" if name.startswith(_LOGS) else "same")
    due = _due(name, damage, stopped)
    trial.must(trial.told.get("it") in due, f"it should have been {' or '.join(due)}")


def _due(name: str, damage: str, stopped: RunDirectory) -> tuple[str, ...]:
    """What may come of a damaged file of the stopped run: mostly one thing."""
    if name in (stopped.run_json.name, stopped.config_gin.name):
        # A letter of the command that is noted there may change unnoticed.
        return ("refused", "unharmed") if damage == "a bit flipped" else ("refused",)
    newest, before = (
        {
            *(f"checkpoints/{path.name}/{each.name}" for each in path.iterdir()),
            *(f"replay/{each}" for each in checkpoint_files.open_checkpoint(path).segments),
        }
        for path in checkpoint_files.checkpoints(stopped.checkpoints)
    )
    if name not in newest:
        return ("unharmed",)
    return ("refused",) if name in before else ("went back",)
