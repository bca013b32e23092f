"""What a person sees of a run: the plan before it, progress during it, the end of it."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

import tensorflow as tf
from tqdm import tqdm

from dqn_breakout import machine
from dqn_breakout.command_line import PROJECT, near, python, silence
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training.progress import Hook, Row


@contextlib.contextmanager
def _whoever_reads() -> Iterator[None]:
    """Goes on where nobody reads what is printed: a closed pipe, a terminal that is gone.

    Training is not to end for it, and what was printed is in files.
    """
    try:
        yield
    except OSError:
        silence(sys.stderr)


def plan(
    environment: EnvironmentSpec,
    run: RunDirectory,
    seed: int,
    num_environments: int,
    learning: Mapping[str, str],
    env_steps: int,
    total_env_steps: int,
    guessed_env_steps_per_second: float | None,
) -> str:
    """What will run, where, with how much memory, and until when; `learning` adds its own lines."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    emulated = f" ({environment.frame_skip * total_env_steps:,} ALE frames)"
    frames = emulated if environment.frame_skip > 1 else ""
    done = f", of which {env_steps:,} are done" if env_steps else ""
    lines = {
        "run directory": near(run.path),
        "device": f"{gpus} GPU(s)" if gpus else f"CPU, {machine.usable_cores()} cores",
        **learning,
        "budget": f"{total_env_steps:,} environment steps{frames}{done}",
        **_finish(total_env_steps - env_steps, guessed_env_steps_per_second),
        "watch": python("-m", "tensorboard.main", "--logdir", near(run.path)),
        "stop": "Ctrl-C saves and stops; the same command goes on",
    }
    title = f"{environment.name}, seed {seed}, {num_environments} game(s) side by side"
    return "\n".join([title, *(f"  {name:<15} {text}" for name, text in lines.items())])


@_whoever_reads()
def _finish(env_steps_left: int, guessed_env_steps_per_second: float | None) -> dict[str, str]:
    if guessed_env_steps_per_second is None:
        return {}
    left = max(env_steps_left, 0) / guessed_env_steps_per_second
    finish = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=left)
    return {
        "finish": f"around {finish:%a %H:%M}, in {format_seconds(left)} (a guess from the "
        f"processor's speed: {guessed_env_steps_per_second:,.0f} steps/s)"
    }


def tell(text: str) -> None:
    """Prints on stderr, above the progress bar where there is one."""
    tqdm.write(text, file=sys.stderr)


def end(run: RunDirectory, env_steps: int, stopped_by: str | None) -> str:
    """How the run ended, and what to do next."""
    if stopped_by is not None:
        return (
            f"Stopped by {stopped_by} at {env_steps:,} environment steps; everything is saved. "
            "The same command goes on from here."
        )
    play = near(PROJECT / "eval.py"), f"--checkpoint_dir={near(run.path)}", "--video=game.mp4"
    return f"Done: {env_steps:,} environment steps. Watch it play:\n  {python(*play)}"


class ConsoleHook(Hook):
    """A progress bar on a terminal; a line per row elsewhere."""

    writes = "progress"
    into_run_directory = False

    def __init__(
        self,
        total_env_steps: int,
        env_steps: int,
        random_fill_env_steps: int,
        stream: TextIO | None = None,
    ):
        """Shows progress from `env_steps` to `total_env_steps`, on stderr if not on `stream`."""
        self._total = total_env_steps
        self._first_env_steps = env_steps
        self._fill = random_fill_env_steps
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None

    def _bar_if_terminal(self) -> tqdm | None:
        """The bar, drawn from the first turn on: until then, sentences are told."""
        if self._bar is None and self._stream.isatty():
            self._bar = tqdm(
                total=self._total,
                initial=self._first_env_steps,
                unit=" steps",
                unit_scale=True,
                dynamic_ncols=True,
                file=self._stream,
                bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, "
                "{rate_fmt}]{postfix}",
            )
        return self._bar

    @_whoever_reads()
    def on_turn(self, turn: Turn) -> None:
        """Moves the bar."""
        if bar := self._bar_if_terminal():
            bar.update(min(turn.env_steps, self._total) - bar.n)

    @_whoever_reads()
    def on_row(self, row: Row) -> None:
        """Shows the row's numbers."""
        if bar := self._bar_if_terminal():
            bar.set_postfix_str(_numbers(row))
            return
        env_steps, speed = row["env_steps"], row["env_steps_per_second"]
        seconds = max(self._total - env_steps, 0) / max(speed, 1e-9)
        # The random fill is many times faster than what comes after it.
        left = f"{format_seconds(seconds)} left" if env_steps > self._fill else "random fill"
        print(
            f"{env_steps:>10,} steps ({min(env_steps / self._total, 1):4.0%}), "
            f"{_numbers(row)}, {speed:,.0f} steps/s, {left}",
            file=self._stream,
            flush=True,
        )

    @_whoever_reads()
    def close(self) -> None:
        """Leaves the bar as it is and goes to the next line."""
        if self._bar is not None:
            self._bar.close()


def format_seconds(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _numbers(row: Row) -> str:
    score = "-" if row["average_return"] is None else f"{row['average_return']:.2f}"
    numbers = [f"{row['episodes']:,} games", f"mean return {score}"]
    if "loss" in row:
        numbers.append("loss -" if row["loss"] is None else f"loss {row['loss']:.4f}")
    if "epsilon" in row:
        numbers.append(f"epsilon {row['epsilon']:.3f}")
    return ", ".join(numbers)
