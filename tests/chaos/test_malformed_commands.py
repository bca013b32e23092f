"""Whatever is given to `train.py`: one clear error each, no stack trace, and nothing is left.

`CHAOS_EXAMPLES=1000` tries as many.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dqn_breakout import config
from tests.chaos.tiny_run import PATHS
from tests.train_here import WOULD_TRAIN, train_here

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
         "(" * 300, "[" * 99 + "]" * 99, "__import__('os').system('true')", "1 if 1 else 2", "b'x'",
         "1_000", "0x10", "1j", "'a' 'b'", "...", "-'a'", "@", "'\\ud800'", "'\\x00'", "Ä"]
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
    kind = draw(st.sampled_from(["value", "value", "misspelt", "anything"]))
    if kind == "anything":
        return draw(st.text(max_size=30))
    name = draw(st.sampled_from(NAMES))
    if kind == "misspelt":
        name = misspelt(draw, name)
    return f"{name}{draw(st.sampled_from([' = ', '=', ' ', ' = = ']))}{draw(values)}"


@st.composite
def gin_files(draw: st.DrawFn) -> bytes:
    """A gin file: the default one with a line misspelt or replaced, cut short; or anything."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    lines = BASE.splitlines()
    place = draw(st.integers(0, len(lines) - 1))
    strange = st.sampled_from(
        ["import os", "include 'nothing.gin'", "include '/'", "train:", "  x = 1",
         "from os import path", "include", "A = %B\nB = %A", "'''", '"""', "\\"]
    )  # fmt: skip
    lines[place] = draw(st.just(misspelt(draw, lines[place])) | bindings() | strange)
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return content[: draw(st.sampled_from([len(content), len(content) // 2, 99]))]


# Any other name of a run directory may be in order, and a folder of it would be left somewhere.
flag_names = st.sampled_from(
    ["--seed=", "--ignore_memory=", "--gin_file=", "--run_dir=~nosuchuser", "--run_dir=/dev/null/",
     "--nothing=", "--sead=", "--gin-file=", "--", "-", "--noignore_memory=", f"--{'9' * 4000}="]
)  # fmt: skip
flags = st.one_of(
    st.tuples(flag_names, st.text(max_size=12) | numbers).map("".join),
    st.sampled_from(["--seed", "--gin_file", "--run_dir", "--flagfile=/", "--gin_file=", "word"]),
)

as_flags = st.lists(bindings().map("--gin_bindings={}".format), min_size=1, max_size=2)


@settings(
    max_examples=int(os.environ.get("CHAOS_EXAMPLES", "30")),
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(wrong=as_flags | gin_files() | st.lists(flags, min_size=1, max_size=3))
@example([]).via("a command that is in order")
@example(["--gin_bindings=A = @create_agent()", "--gin_bindings=build.agent = %A"])
def test_any_command_trains_or_gives_one_clear_error(work_dir: Path, wrong: bytes | list[str]):
    folder = work_dir / "malformed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()  # The command has to make `runs` too.
    command = [*PATHS["fast"], "--run_dir=runs/run"]
    if isinstance(wrong, bytes):
        file = folder.with_name("malformed.gin")
        file.write_bytes(wrong)
        command[0] = f"--gin_file={file}"
    else:
        command += wrong
    with contextlib.chdir(folder):
        ended = train_here(*command)
    assert wrong != [] or ended.code == WOULD_TRAIN
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    if ended.code == WOULD_TRAIN:  # Some of what is drawn is in order.
        assert left <= {".lock"}
        return
    assert not any(folder.iterdir())
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    (line,) = ended.err.splitlines()
    assert 10 < len(line) < 2000
    assert line.endswith((".", "?", ").")), line
    assert line.isprintable()
