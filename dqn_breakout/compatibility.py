"""Owns what must be mended to run TF-Agents 0.19.0, its last release, on today's TensorFlow.

Each mend names its fault and where upstream stands with it. The package's `__init__` calls
`prepare`, so that any module can write plain `import tensorflow` and `from tf_agents...`: the mends
run on the way of the first such import. Nothing here imports either by itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_TENSOR_SPEC = "tf_agents.specs.tensor_spec"
_NOTES = (b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")


def prepare() -> None:
    """Selects legacy Keras and has every mend made when TensorFlow and TF-Agents are imported.

    TF-Agents is written for Keras 2, the package tf-keras. Since TensorFlow 2.16 `tf.keras` means
    Keras 3, unless TF_USE_LEGACY_KERAS=1 stands in the environment before TensorFlow is imported.

    Raises:
        ImportError: TensorFlow was imported before this package, with Keras 3.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.keras.Model.__module__.startswith("tf_keras."):
        raise ImportError(
            "TensorFlow was imported before dqn_breakout, with Keras 3, and TF-Agents needs Keras "
            "2. Import dqn_breakout first, or set TF_USE_LEGACY_KERAS=1 before Python starts."
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    # What TensorFlow says about CUDA matters only where an NVIDIA card can be in use.
    nvidia = any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/dxg"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if nvidia else "3")
    if not any(isinstance(finder, _MendingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MendingFinder())


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Holds stderr back while TensorFlow is imported, and drops TensorFlow's notes from it.

    Every command would begin with four of them ("Could not find cuda drivers"), written before
    TF_CPP_MIN_LOG_LEVEL is read (tensorflow issue 100442, open). At level 0 nothing is held back. A
    process that dies in the import (no AVX) shows where; at level 0, what it wrote too.
    """
    held = None
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") != "0" and sys.stderr is not None:
        with contextlib.suppress(OSError):  # No folder for it can be written: nothing is hidden.
            held = tempfile.TemporaryFile()  # noqa: SIM115
    if held is None:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    traced_already = faulthandler.is_enabled()
    with held:
        os.dup2(held.fileno(), 2)
        if not traced_already:
            faulthandler.enable(stderr)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            if not traced_already:
                faulthandler.disable()
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not line.startswith(_NOTES)))


def provide_distutils() -> None:
    """Makes `import distutils` work on Python 3.12 and later, which removed it.

    The last releases of TF-Agents and TensorFlow Probability compare versions with it. setuptools
    brings a copy, which importing it puts in place even where its hook at start-up does not run.
    """
    if importlib.util.find_spec("distutils") is None:
        importlib.import_module("setuptools")


def provide_gym() -> None:
    """Lets `import gym` inside TF-Agents succeed without gym, which is no longer kept.

    TF-Agents imports it to hand `gym.envs.registration` to processes that this project never starts
    (tensorflow/agents issues 928 to 962, open). The stand-in has gymnasium's `envs` alone.
    """
    if "gym" in sys.modules or importlib.util.find_spec("gym") is not None:
        return
    stand_in = importlib.util.module_from_spec(ModuleSpec("gym", loader=None))
    stand_in.envs = importlib.import_module("gymnasium").envs  # type: ignore[attr-defined]
    sys.modules["gym"] = stand_in


def mend_uint8_sampling(tensor_spec: ModuleType) -> None:
    """Makes `sample_bounded_spec` of that module sample pictures: uint8 specs up to 255.

    It computes `maximum + 1` in uint8, which NumPy 2 wraps round to 0. Mended upstream in 2024 and
    never released: this can go with any release after 0.19.0.
    """
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


class _MendingFinder(MetaPathFinder):
    """Makes the mends when TensorFlow or TF-Agents is imported, whoever imports it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds the modules that are mended as they run, and no others."""
        if fullname == "tf_agents":
            provide_distutils()
            provide_gym()
        if fullname not in ("tensorflow", _TENSOR_SPEC):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_mend(module: ModuleType) -> None:
            with quiet_start():
                execute(module)
            if fullname == _TENSOR_SPEC:
                mend_uint8_sampling(module)

        spec.loader.exec_module = execute_and_mend  # type: ignore[method-assign]
        return spec
