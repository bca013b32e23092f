"""What every command says where something is wrong."""

from __future__ import annotations

import pytest

from dqn_breakout import command_line
from dqn_breakout.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("The run is gone. Give another."), 2, "The run is gone. Give another.\n"),
        (
            OSError(28, "No space left on device", "/runs/a.json"),
            2,
            "A file cannot be read or written: No space left on device: /runs/a.json.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command_line.told
    def fails() -> int:
        raise error

    assert fails() == code
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (1, 1)])
def test_a_command_gives_its_exit_code(returned: int | None, code: int) -> None:
    assert command_line.told(lambda words: returned)([]) == code


def test_other_errors_are_not_hidden() -> None:
    @command_line.told
    def is_wrong() -> None:
        raise ValueError("a fault of the program")

    with pytest.raises(ValueError, match="a fault of the program"):
        is_wrong()
