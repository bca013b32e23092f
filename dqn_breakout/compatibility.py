"""Owns what must be mended to run TF-Agents 0.19.0, its last release, on today's TensorFlow.

Each function below mends one fault, says where upstream stands with it and when the mend can go,
and does nothing where the fault is gone. The package's `__init__` calls `prepare`, so that any
module can write plain `import tensorflow` and `from tf_agents...`: the mends run on the way of the
first such import. Nothing here imports TensorFlow or TF-Agents by itself.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_TENSOR_SPEC = "tf_agents.specs.tensor_spec"
_DROP_NOTES = """
import sys
for line in sys.stdin.buffer:
    if not line.startswith((b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def prepare() -> None:
    """Selects legacy Keras and has every mend made when TensorFlow and TF-Agents are imported.

    Raises:
        ImportError: TensorFlow was imported before this package, with Keras 3.
    """
    select_legacy_keras()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_nvidia_driver() else "3")
    if not any(isinstance(finder, _MendingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MendingFinder())
    if _TENSOR_SPEC in sys.modules:
        mend_uint8_sampling(sys.modules[_TENSOR_SPEC])


def select_legacy_keras() -> None:
    """Makes `tf.keras` mean Keras 2, the package tf-keras.

    Fault: TF-Agents is written for Keras 2; since TensorFlow 2.16 `tf.keras` is Keras 3 unless
    TF_USE_LEGACY_KERAS=1 stands in the environment before TensorFlow is imported.
    Upstream: no release of TF-Agents supports Keras 3.
    Can go: with a TF-Agents that does.

    Raises:
        ImportError: TensorFlow was imported already, with Keras 3; it is too late to choose.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.keras.Model.__module__.startswith("tf_keras."):
        raise ImportError(
            "TensorFlow was imported before dqn_breakout, with Keras 3, and TF-Agents needs Keras "
            "2. Import dqn_breakout before tensorflow, or set TF_USE_LEGACY_KERAS=1 in the "
            "environment before Python starts."
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps TensorFlow's notes on its build off stderr while it is imported.

    Fault: since 2.17 TensorFlow writes them ("oneDNN custom operations are on", "Could not find
    cuda drivers") before it has read TF_CPP_MIN_LOG_LEVEL, twice over, so that every command and
    every message to the user begins with six lines that are none of the user's business.
    Upstream: tensorflow issue 100442, open.
    Can go: with a TensorFlow that heeds the level from the start.

    Does nothing where the level asks for notes (0). A process of its own filters the lines, so that
    what TensorFlow says before it aborts (a processor without AVX) still comes through.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0" or not (sys.stderr and sys.executable):
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    drop_notes = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _DROP_NOTES],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process to handle.
    )
    assert drop_notes.stdin is not None
    os.dup2(drop_notes.stdin.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        drop_notes.stdin.close()
        # It ends with its input, unless a process started meanwhile still holds that open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            drop_notes.wait(timeout=5)


def provide_distutils() -> None:
    """Makes `import distutils` work on Python 3.12 and later.

    Fault: `tf_agents` and `tensorflow_probability` compare versions with `distutils`, which Python
    3.12 removed. setuptools brings a copy, and in an ordinary environment hooks it in at start-up;
    where such hooks don't run (a folder on PYTHONPATH), importing setuptools does.
    Upstream: TensorFlow Probability's and TF-Agents' last releases (0.25.0, 0.19.0) still do so.
    Can go: with releases of both that don't.

    Raises:
        ModuleNotFoundError: There is neither distutils nor setuptools.
    """
    if importlib.util.find_spec("distutils") is None:
        importlib.import_module("setuptools")


def provide_gym() -> None:
    """Lets `import gym` inside TF-Agents succeed without gym.

    Fault: `tf_agents.system.system_multiprocessing`, which every import of TF-Agents runs, imports
    gym for `gym.envs.registration` (to hand the registry to subprocesses, which this project never
    starts through TF-Agents). gym is no longer kept; the version that 0.19.0 pins doesn't install.
    The stand-in has gymnasium's `envs` and nothing else, so that code which really needs gym fails
    loudly.
    Upstream: asked for in tensorflow/agents issues 928 to 962; no release uses gymnasium.
    Can go: with a TF-Agents that doesn't import gym.
    """
    if "gym" in sys.modules or importlib.util.find_spec("gym") is not None:
        return
    stand_in = importlib.util.module_from_spec(ModuleSpec("gym", loader=None))
    stand_in.envs = importlib.import_module("gymnasium").envs  # type: ignore[attr-defined]
    sys.modules["gym"] = stand_in


def mend_uint8_sampling(tensor_spec: ModuleType) -> bool:
    """Makes `sample_bounded_spec` sample uint8 specs whose maximum is 255.

    Fault: it computes `maxval + 1` in uint8, which NumPy 2 wraps round to 0, so that sampling an
    image spec fails with "Need minval < maxval".
    Upstream: mended in 2024 as `int(maxval) + 1`; never released.
    Can go: with any release after 0.19.0.

    Args:
        tensor_spec: The module `tf_agents.specs.tensor_spec`; its function is replaced.

    Returns:
        Whether there was a fault to mend.
    """
    if not samples_uint8_wrongly(tensor_spec):
        return False
    import tensorflow as tf

    sample = tensor_spec.sample_bounded_spec

    @functools.wraps(sample)
    def sample_bounded_spec(spec: Any, seed: Any = None, outer_dims: Any = None) -> Any:
        if tf.as_dtype(spec.dtype) != tf.uint8:
            return sample(spec, seed=seed, outer_dims=outer_dims)
        # int32 is what uint8 is sampled in anyway; bounds of that type have room for 256.
        wide = tensor_spec.BoundedTensorSpec(spec.shape, tf.int32, spec.minimum, spec.maximum)
        return tf.cast(sample(wide, seed=seed, outer_dims=outer_dims), tf.uint8)

    tensor_spec.sample_bounded_spec = sample_bounded_spec  # type: ignore[attr-defined]
    return True


def samples_uint8_wrongly(tensor_spec: ModuleType) -> bool:
    """Whether `tensor_spec.sample_bounded_spec` has the fault that `mend_uint8_sampling` mends.

    Builds the sampling operation in a graph of its own and looks at its upper bound. Nothing is
    run: that would fix TensorFlow's devices and threads before the caller could choose them.
    """
    import numpy as np
    import tensorflow as tf

    pixel = tensor_spec.BoundedTensorSpec((), tf.uint8, 0, 255)
    with tf.Graph().as_default() as graph, np.errstate(over="ignore"):
        tensor_spec.sample_bounded_spec(pixel)
    (draw,) = [op for op in graph.get_operations() if op.type == "RandomUniformInt"]
    _, _, exclusive_maximum = draw.inputs
    return int(tf.get_static_value(exclusive_maximum)) != 256


class _MendingFinder(MetaPathFinder):
    """Makes the mends when TensorFlow or TF-Agents is imported, whoever imports it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds the modules that are mended as they run; leaves all others to other finders."""
        if fullname == "tf_agents":
            provide_distutils()
            provide_gym()
        if fullname not in ("tensorflow", _TENSOR_SPEC):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_quietly(module: ModuleType) -> None:
            with quiet_start():
                execute(module)

        def execute_and_mend(module: ModuleType) -> None:
            execute(module)
            mend_uint8_sampling(module)

        mended = execute_quietly if fullname == "tensorflow" else execute_and_mend
        spec.loader.exec_module = mended  # type: ignore[method-assign]
        return spec


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA card can be in use, so that what TensorFlow says about CUDA matters."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg"))
