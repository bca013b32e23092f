"""One call of `eval.py`: who plays, what is shown, what is scored and written."""

from __future__ import annotations

import sys

from tqdm import tqdm

from dqn_breakout import config
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.evaluation import protocols, score_card
from dqn_breakout.evaluation.evaluate import evaluate_agent
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.evaluation.request import EvaluationRequest
from dqn_breakout.evaluation.saved_network import SavedNetwork, load_network
from dqn_breakout.evaluation.shown_game import watch_game
from dqn_breakout.evaluation.video import record_game
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import write_json


def play(request: EvaluationRequest) -> None:
    """Scores and shows what was asked for; scores are told before anything is shown.

    Args:
        request: Checked already.

    Raises:
        UserError: The run, its configuration or its network cannot be used.
        OSError: A file cannot be written.
    """
    network = None
    if request.checkpoint_dir and not request.random:
        network = load_network(request.checkpoint_dir)
        for sentence in network.damage:
            _say(f"Damaged checkpoint left out: {sentence}.")
    elif request.checkpoint_dir:
        saved = RunDirectory.of_checkpoints(request.checkpoint_dir).config_gin
        config.parse([str(saved)], includes=False)
    else:
        config.parse(request.gin_file or ["breakout.gin"], request.gin_bindings)
    if request.games:
        _score(request, network)
    if network is not None:
        _show(request, network)


def _protocol(request: EvaluationRequest, network: SavedNetwork | None) -> EvaluationProtocol:
    """The rules that were asked for, or the usual ones of that kind of environment."""
    if network is not None:
        return protocols.of_environment(network.environment, request.protocol)
    environment = create_environment(request.seed, "specs", num_environments=1)
    environment.close()
    return protocols.of_environment(environment.pyenv.spec, request.protocol)


def _show(request: EvaluationRequest, network: SavedNetwork) -> None:
    protocol = _protocol(request, network)
    if request.watch:
        _say("A game in the window; Ctrl-C stops.")
        last = watch_game(network.agent, protocol, request.seed)
        _say(f"It scored {last.score:g} in {last.env_steps:,} steps.")
    if request.video:
        _say(f"Recording a game to {request.video} ...")
        caption = f"after {network.env_steps:,} steps"
        last = record_game(network.agent, request.video, protocol, request.seed, caption=caption)
        how_far = "that scored" if last.action is None else "so far, with a score of"
        _say(f"Wrote {request.video}: a game {how_far} {last.score:g} in {last.env_steps:,} steps.")


def _score(request: EvaluationRequest, network: SavedNetwork | None) -> None:
    # A bar of finished games on a terminal, nothing elsewhere.
    with tqdm(
        total=request.games,
        disable=None,
        leave=False,
        dynamic_ncols=True,
        bar_format="{n_fmt}/{total_fmt} games {bar} [{elapsed}<{remaining}]",
    ) as bar:
        result = evaluate_agent(
            None if network is None else network.agent,
            _protocol(request, network),
            request.games,
            request.seed,
            request.num_environments,
            progress=lambda finished: bar.update(finished - bar.n),
        )
    if network is not None:
        counts = {"env_steps": network.env_steps, "train_steps": network.train_steps}
        result = {"checkpoint": network.checkpoint, **counts, **result}
    try:
        print(score_card.as_text(result), flush=True)
    finally:  # Where nobody reads it, scores are written all the same.
        if request.output:
            write_json(request.output, result)
    if request.output:
        _say(f"Wrote {request.output}.")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
