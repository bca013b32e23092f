"""Damages every file of a run, one at a time: a byte flipped, cut short, removed.

    python -m tests.chaos.damage                     each file, each damage
    python -m tests.chaos.damage --only learner      only the files with that in their names

Where only the newest checkpoint needs a file, it is named and the one before is used. Where all
need it, or it says what the run is of, the run is refused with one clear error and nothing is
changed. What no checkpoint needs (the log, TensorBoard's events, the summary) may cost what it
held, never the run.
"""

from __future__ import annotations

import functools
import random
import shutil
import sys
from pathlib import Path

from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign, run_outcome
from tests.chaos.campaign import Result
from tests.chaos.tiny_run import compare, flags, reference
from tests.chaos.train_process import TrainProcess, warm_up

PATH = "fast"
# The run stops here, with two checkpoints, and goes on after the damage.
_STOPPED_AT = "--gin_bindings=train.total_env_steps = 250"
DAMAGES = ("a byte flipped", "cut short", "removed")
# A run goes on without them; what the log held is gone with it.
_LOGS = ("metrics.jsonl", "summary.json", "tensorboard/", "evaluations/")


def stopped_run(work_dir: Path) -> RunDirectory:
    """A run in the middle of its budget, made once."""
    run = RunDirectory(work_dir / "stopped")
    if not run.summary_json.exists():
        ended = TrainProcess(flags(PATH, run, _STOPPED_AT), work_dir / "stopped.out").wait()
        assert ended.code == 0, ended.err
        saved = len(checkpoint_files.checkpoints(run.checkpoints))
        assert saved == 2, f"{saved} checkpoints: there must be one to go back to"
    return run


def apply(damage: str, path: Path) -> None:
    """Does the damage to a file; where a byte is flipped is always the same for the same name."""
    if damage == "removed":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    else:
        chance = random.Random(path.name)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def try_damage(case: tuple[str, str], work_dir: Path) -> Result:
    """One file damaged in one way, and the same command given again."""
    name, damage = case
    run = RunDirectory(work_dir / f"damaged-{name.replace('/', '-')}-{damage.split()[-1]}")
    shutil.rmtree(run.path, ignore_errors=True)
    shutil.copytree(stopped_run(work_dir).path, run.path)
    apply(damage, run.path / name)
    before = run_outcome.snapshot(run.path)
    ended = TrainProcess(flags(PATH, run), work_dir / f"{run.path.name}.out").wait()
    lines = ended.err.splitlines()
    faults = []
    if "Traceback" in ended.err:
        faults.append(f"a stack trace: {ended.err[-400:]}")
    if ended.code == 2:
        came = "refused"
        # A segment or a checkpoint by its path; a record by its name.
        if len(lines) != 1 or name.split("/")[-1] not in lines[0]:
            faults.append(f"it is not named: {ended.err[-400:]}")
        if run_outcome.snapshot(run.path) != before:
            faults.append("something was changed or deleted")
    elif ended.code == 0:
        went_back = [line for line in lines if line.startswith("Damaged checkpoint left out: ")]
        came = "went back" if went_back else "unharmed"
        if went_back and name not in went_back[0]:
            faults.append(f"it is not named: {went_back[0]}")
        faults += compare(run, PATH, work_dir, logs=not name.startswith(_LOGS))
    else:
        came = f"exit code {ended.code}"
        faults.append(f"exit code {ended.code}: {ended.err[-400:]}")
    due = must_come(name, damage, stopped_run(work_dir))
    if came not in due:
        faults.append(f"{came}, and should have been {' or '.join(due)}")
    if not faults:
        shutil.rmtree(run.path)
    return Result(f"{name}, {damage}", faults, {"it": came})


def must_come(name: str, damage: str, stopped: RunDirectory) -> tuple[str, ...]:
    """What may come of a damaged file of the stopped run: mostly one thing."""
    if name in (stopped.run_json.name, stopped.config_gin.name):
        # A letter of the command that is noted there may change unnoticed.
        return ("refused", "unharmed") if damage == "a byte flipped" else ("refused",)
    newest, *older = (
        {
            *(f"checkpoints/{path.name}/{each.name}" for each in path.iterdir()),
            *(f"replay/{each}" for each in checkpoint_files.open_checkpoint(path).segments),
        }
        for path in checkpoint_files.checkpoints(stopped.checkpoints)
    )
    if name not in newest:
        return ("unharmed",)
    return ("refused",) if all(name in needed for needed in older) else ("went back",)


def main() -> int:
    """Tries each damage on each file."""
    parser = campaign.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="", help="only files with this in their names")
    options = parser.parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    reference(PATH, work_dir)
    files = [
        name for name in run_outcome.snapshot(stopped_run(work_dir).path) if options.only in name
    ]
    cases = [(name, damage) for name in files for damage in DAMAGES]
    each = functools.partial(try_damage, work_dir=work_dir)
    return campaign.run_all("damage", cases, each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
