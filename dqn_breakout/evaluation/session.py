"""One call of `eval.py`: who plays, what is shown, what is scored and written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate, protocols, score_card, video, window
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.evaluation.request import EvaluationRequest
from dqn_breakout.evaluation.saved_network import SavedNetwork, load_network
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import write_json

_DEFAULT_GIN_FILE = "breakout.gin"


def play(request: EvaluationRequest) -> None:
    """Shows and scores what was asked for.

    All modules that define configurables must have been imported.

    Args:
        request: Checked already.

    Raises:
        UserError: The run, its configuration or its network cannot be used, or a file cannot be
            written.
    """
    network = _prepare(request)
    protocol = protocols.by_name(request.protocol)
    if network is not None:
        _show(request, network, protocol)
    if request.games:
        result = _score(request, network, protocol)
        print(score_card.as_text(result))
        if request.output:
            try:
                write_json(Path(request.output), result)
            except OSError as error:
                raise UserError(
                    f"--output={request.output} cannot be written: {error.strerror}."
                ) from error
            _say(f"Wrote {request.output}.")


def _prepare(request: EvaluationRequest) -> SavedNetwork | None:
    """Has gin configured, and the network loaded if one is to play."""
    if not request.random:
        assert request.checkpoint_dir is not None
        network = load_network(request.checkpoint_dir)
        for sentence in network.damage:
            _say(f"Damaged checkpoint left out: {sentence}.")
        return network
    if request.checkpoint_dir:
        saved = RunDirectory.of_checkpoints(request.checkpoint_dir).config_gin
        config.parse([str(saved)], includes=False)
    else:
        config.parse(request.gin_file or [_DEFAULT_GIN_FILE], request.gin_bindings)
    return None


def _show(request: EvaluationRequest, network: SavedNetwork, protocol: EvaluationProtocol) -> None:
    if request.watch:
        _say("A game in the window; Ctrl-C stops.")
        seen = window.watch_game(network.q_network, protocol, request.seed)
        _say(f"It scored {seen['score']:g} in {seen['env_steps']:,} steps.")
    if request.video:
        _say(f"Recording a game to {request.video} ...")
        video_of = video.record_game(
            network.q_network,
            request.video,
            protocol,
            request.seed,
            caption=f"after {network.env_steps:,} steps",
        )
        how_far = "that scored" if video_of["game_over"] else "so far, with a score of"
        _say(
            f"Wrote {request.video}: {video_of['seconds']:.0f} s of a game {how_far} "
            f"{video_of['score']:g} in {video_of['env_steps']:,} steps."
        )


def _score(
    request: EvaluationRequest, network: SavedNetwork | None, protocol: EvaluationProtocol
) -> dict[str, Any]:
    with _progress(request.games) as progress:
        arguments = (protocol, request.games, request.seed, request.num_environments, progress)
        if network is None:
            return evaluate.evaluate_random_player(*arguments)
        return {
            "checkpoint": network.checkpoint,
            "env_steps": network.env_steps,
            "train_steps": network.train_steps,
            **evaluate.evaluate_network(network.q_network, *arguments),
        }


@contextmanager
def _progress(games: int) -> Iterator[evaluate.Progress]:
    """A bar of finished games on a terminal, nothing elsewhere."""
    with tqdm(
        total=games,
        disable=None,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
        bar_format="{n_fmt}/{total_fmt} games {bar} [{elapsed}<{remaining}]",
    ) as bar:
        yield lambda finished: bar.update(finished - bar.n)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
