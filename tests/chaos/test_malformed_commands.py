"""Whatever is given to `train.py`: one clear error each, no stack trace, and nothing is left.

Every example goes through `main` of `train.py`, from its flags to the moment where training would
begin; there it is stopped. `CHAOS_EXAMPLES=1000` tries as many.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gin
import pytest
import tensorflow as tf
from absl import app, flags
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dqn_breakout import command_line, config, doctor
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.request import EvaluationRequest
from dqn_breakout.runs import record
from tests.chaos.tiny_run import PATHS, TINY
from tests.chaos.train_process import REPOSITORY

MANY = settings.get_profile("chaos")
FLAGS = ("gin_file", "gin_bindings", "run_dir", "seed", "ignore_memory")
# What a command that is in order comes to here.
WOULD_TRAIN = 77
# The command has to make the folder above it too.
RUN = "--run_dir=runs/run"

# --- Strategies -----------------------------------------------------------------------------------

TINY_FLAGS = PATHS["fast"]
BASE = (config.GIN_DIRECTORY / "breakout.gin").read_text()
NAMES = sorted({line.split(" = ")[0] for line in BASE.splitlines() if " = " in line})
# Whole numbers that are small, or far from anything sane: what lies between is allowed, and slow.
numbers = st.sampled_from(
    [*map(str, (-1, 0, 1, 2, 3, 10**9, 2**31, 2**63 - 1, 2**63, 10**30)), "9" * 5000]
)
values = st.one_of(
    st.sampled_from(
        ["", "=", "'", "(", "[1, 2", "None", "True", "'a'", "'Pong'", "@create_agent",
         "@create_agent()", "@nothing", "%NOTHING", "%gin.REQUIRED", "1e999", "-1e-9", "0.5", "nan",
         "inf", "()", "((),)", "((32, 8, 4),)", "{}", "{'a': [1]}", "'" + "x" * 5000 + "'",
         "(" * 300, "[" * 99 + "]" * 99, "__import__('os').system('true')", "lambda: 1",
         "1 if 1 else 2", "b'x'", "1_000", "0x10", "1j",
         "'a' 'b'", "...", "-'a'", "{1: 2}", "@a/b/c", "@", "%", "@@", "'\\ud800'", "'\\x00'", "Ä"]
    ),
    numbers,
    st.text(max_size=12),
)  # fmt: skip


def misspelt(draw: st.DrawFn, text: str) -> str:
    """The text with a character left out, doubled, or replaced."""
    place = draw(st.integers(0, max(0, len(text) - 1)))
    put = draw(st.sampled_from(["", text[place : place + 1] * 2]) | st.text(min_size=1, max_size=3))
    return text[:place] + put + text[place + 1 :]


@st.composite
def bindings(draw: st.DrawFn) -> str:
    """A binding: a real name and any value, a name misspelt, or anything."""
    name = draw(st.sampled_from(NAMES))
    kind = draw(st.sampled_from(["value", "value", "misspelt", "anything"]))
    if kind == "anything":
        return draw(
            st.text(max_size=30) | st.binary(max_size=9).map(lambda it: it.decode("latin1"))
        )
    if kind == "misspelt":
        name = misspelt(draw, name)
    return f"{name}{draw(st.sampled_from([' = ', '=', ' ', ' = = ']))}{draw(values)}"


@st.composite
def gin_files(draw: st.DrawFn) -> bytes:
    """A gin file: the default one with some of it misspelt, cut short or joined by anything."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    lines = BASE.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = draw(
            st.just(misspelt(draw, lines[place]))
            | bindings()
            | st.sampled_from(
                ["import os", "include 'nothing.gin'", "include '/'", "include 'breakout.gin'",
                 "train:", "  x = 1", "from os import path", "include",
                 "A = %B\nB = %A", "'''", '"""', "\\"]
            )
        )  # fmt: skip
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return (
        content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 4)) == 0 else content
    )


flag_values = st.text(max_size=12) | numbers
flag_names = st.sampled_from(
    [
        "--seed=",
        "--ignore_memory=",
        "--gin_file=",
        # Any other name may be in order, and a folder of it would be left somewhere.
        "--run_dir=~nosuchuser",
        "--run_dir=/dev/null/",
        "--nothing=",
        "--sead=",
        "--gin-file=",
        "--",
        "-",
    ]
)
command_flags = st.one_of(
    st.tuples(flag_names, flag_values).map("".join),
    flag_values.filter(lambda text: not text.startswith("-")),
    st.sampled_from(["--seed", "--gin_file", "--run_dir", "--flagfile=/", "--gin_file="]),
)


# --- Running --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def train() -> Iterator[ModuleType]:
    """`train.py`, with its flags, which other tests may have defined as well."""
    before = {name: flags.FLAGS[name] for name in FLAGS if name in flags.FLAGS}
    for name in before:
        delattr(flags.FLAGS, name)
    specification = importlib.util.spec_from_file_location("train_py", REPOSITORY / "train.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    yield module
    for name in FLAGS:
        delattr(flags.FLAGS, name)
    for name, flag in before.items():
        flags.FLAGS[name] = flag
    flags.FLAGS.unparse_flags()
    gin.clear_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands run: the current folder, without any gin file."""
    return tmp_path_factory.mktemp("malformed")


def command(train: ModuleType, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line.

    It has left nothing: no file and no folder. One that would train holds its run directory.
    """
    before = set(folder.rglob("*"))

    def would_train(*given: Any) -> None:
        sys.exit(WOULD_TRAIN)

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(record, "record_start", would_train)
        # This process has its threads already.
        for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
            patch.setattr(tf.config.threading, name, lambda number: None)
        flags.FLAGS.unparse_flags()
        code: Any = 0
        try:
            app.run(train.main, argv=["train.py", *arguments], flags_parser=command_line.parse)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            gin.clear_config()
    left = set(folder.rglob("*")) - before
    if code == WOULD_TRAIN:
        left = {path for path in left if path.is_file() and path.name != ".lock"}
    for path in set(folder.iterdir()) - before:
        shutil.rmtree(path)
    assert left == set(), "something was left"
    return code, out.getvalue(), err.getvalue()


def assert_one_clear_error(code: int, out: str, err: str) -> None:
    if code == WOULD_TRAIN:
        return  # Some of what is drawn is in order.
    assert code == 2, err
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert 10 < len(lines[0]) < 2000
    assert lines[0].endswith((".", "?", ").")), err
    assert lines[0].isprintable()


@MANY
@given(given_bindings=st.lists(bindings(), min_size=1, max_size=2))
@example(given_bindings=["A = @create_agent()", "build.agent = %A"])
def test_any_bindings_give_one_clear_error(train, folder, given_bindings):
    flags_of_bindings = [f"--gin_bindings={binding}" for binding in given_bindings]
    assert_one_clear_error(*command(train, folder, *TINY_FLAGS, RUN, *flags_of_bindings))


@MANY
@given(content=gin_files())
def test_any_gin_file_gives_one_clear_error(train, folder, content):
    given_file = folder.with_name("given.gin")
    given_file.write_bytes(content)
    assert_one_clear_error(
        *command(
            train,
            folder,
            f"--gin_file={given_file}",
            f"--gin_file={TINY}",
            "--gin_bindings=create_environment.num_environments = 2",
            RUN,
        )
    )


@MANY
@given(given_flags=st.lists(command_flags, min_size=1, max_size=3))
def test_any_flags_give_one_clear_error(train, folder, given_flags):
    code, out, err = command(train, folder, *TINY_FLAGS, RUN, *given_flags)
    assert "Traceback" not in err + out
    if "--help" not in out:  # absl ends a help with 1.
        assert_one_clear_error(code, out, err)


def test_a_value_for_a_flag_that_takes_none_is_one_clear_error(train, folder):
    code, out, err = command(train, folder, *TINY_FLAGS, RUN, "--noignore_memory=1")
    assert_one_clear_error(code, out, err)
    assert "does not take an argument" in err


def test_a_flag_with_an_endless_name_is_one_clear_error(train, folder):
    code, out, err = command(train, folder, *TINY_FLAGS, RUN, f"--{'9' * 4000}=1")
    assert_one_clear_error(code, out, err)
    assert "There is no flag with a name as long as that" in err


@pytest.mark.parametrize(
    "name",
    [
        "/dev/null/run",
        "file",
        "file/run",
        "x" * 300,
        "a\0b",
        "/proc/run",
        "\ud800",
        "~nosuchuser/x",
        "~a\0b",
        "~\ud800",
    ],
)
def test_a_run_directory_that_cannot_be_is_one_clear_error(train, folder, name):
    (folder / "file").write_text("mine")
    try:
        code, out, err = command(train, folder, *TINY_FLAGS, f"--run_dir={name}")
        assert code == 2
        assert_one_clear_error(code, out, err)
        assert (folder / "file").read_text() == "mine"
    finally:
        (folder / "file").unlink()


@pytest.mark.parametrize("name", ["~nosuchuser/x", "~a\0b", "~\ud800"])
def test_a_home_that_is_not_known_is_one_clear_error(capsys, name):
    """For `eval.py`, which makes such a request of its flags, and for the doctor."""
    values = dict.fromkeys(EvaluationRequest.names())
    request = EvaluationRequest(**{**values, "checkpoint_dir": name, "random": False})
    with pytest.raises(UserError) as caught:
        request.check()
    assert doctor.main([f"--run_dir={name}"]) == 2
    out, err = capsys.readouterr()
    assert err == f"{caught.value.message}\n"
    assert_one_clear_error(2, out, err)
    assert "Write the path out" in err


def test_a_command_that_is_in_order_would_train(train, folder):
    assert command(train, folder, *TINY_FLAGS, RUN) == (WOULD_TRAIN, "", "")
