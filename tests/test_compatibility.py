from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from dqn_breakout import compatibility

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = "I0000 a note\nE0000 a fault\n"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, without what this process's own `prepare` has set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_package_imports_without_tensorflow_and_then_tf_agents_works_quietly():
    result = run_python(
        """
import sys
import dqn_breakout
assert not {"tensorflow", "tf_agents"} & set(sys.modules)
from tf_agents.agents.dqn import dqn_agent
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)  # Refused once TensorFlow has started.
from tf_agents.specs import tensor_spec
tensor_spec.sample_bounded_spec(tensor_spec.BoundedTensorSpec((2,), tf.uint8, 0, 255))
print(tf.keras.Model.__module__)
"""
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("tf_keras.")
    assert "I0000" not in result.stderr
    assert "InitializeLog" not in result.stderr


def test_tensorflow_with_keras_3_first_is_refused(monkeypatch):
    model = types.SimpleNamespace(__module__="keras.src.engine.training")
    keras = types.SimpleNamespace(Model=model)
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(keras=keras))
    with pytest.raises(ImportError, match="Import dqn_breakout first"):
        compatibility.prepare()


def test_preparing_again_adds_nothing():
    finders = list(sys.meta_path)
    sample = tensor_spec.sample_bounded_spec
    compatibility.prepare()
    assert sys.meta_path == finders
    assert tensor_spec.sample_bounded_spec is sample


@pytest.mark.parametrize(
    ("level", "shown"), [("2", "E0000 a fault\nI0000 after\n"), ("0", f"{WRITTEN}I0000 after\n")]
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_quiet_start_drops_notes_and_keeps_the_rest(level, shown, fails, capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with contextlib.suppress(ImportError), compatibility.quiet_start():
        os.write(2, WRITTEN.encode())
        if fails:
            raise ImportError
    os.write(2, b"I0000 after\n")
    assert capfd.readouterr().err == shown


def test_without_a_temporary_folder_nothing_is_held_back(capfd, monkeypatch):
    def refuse():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with compatibility.quiet_start():
        os.write(2, WRITTEN.encode())
    assert capfd.readouterr().err == WRITTEN


def test_a_process_that_dies_in_a_quiet_start_says_where():
    result = run_python(
        """
import os
from dqn_breakout import compatibility
def import_tensorflow():
    os.abort()
with compatibility.quiet_start():
    import_tensorflow()
"""
    )
    assert result.returncode == -signal.SIGABRT
    assert result.stderr.startswith("Fatal Python error: Aborted\n")
    assert "in import_tensorflow\n" in result.stderr


def test_gymnasium_stands_in_for_a_missing_gym(monkeypatch):
    monkeypatch.delitem(sys.modules, "gym", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    compatibility.provide_gym()
    gym = sys.modules["gym"]
    assert gym.envs is gymnasium.envs
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gym.spaces")


def test_an_installed_gym_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "gym.py").write_text("installed = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gym", raising=False)
    compatibility.provide_gym()
    assert "gym" not in sys.modules
    assert importlib.import_module("gym").installed
    del sys.modules["gym"]  # monkeypatch restores what stood there before.


@pytest.mark.parametrize(("found", "asked"), [(None, ["setuptools"]), (object(), [])])
def test_setuptools_is_asked_for_a_missing_distutils(found, asked, monkeypatch):
    imported: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(importlib, "import_module", imported.append)
    compatibility.provide_distutils()
    assert imported == asked


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 doesn't wrap")
def test_tf_agents_0_19_has_the_fault():
    """Where this fails, upstream has mended it and `mend_uint8_sampling` can go."""
    released: Any = tensor_spec.sample_bounded_spec
    pixel = tensor_spec.BoundedTensorSpec((), tf.uint8, 0, 255)
    with np.errstate(over="ignore"), pytest.raises(tf.errors.InvalidArgumentError, match="minval"):
        released.__wrapped__(pixel)


def test_sampled_pixels_span_all_bytes_and_other_bounds_and_types_are_kept():
    pixels = tensor_spec.BoundedTensorSpec((84, 84, 4), tf.uint8, 0, 255)
    sampled = tensor_spec.sample_spec_nest(pixels, outer_dims=(2,)).numpy()
    assert (sampled.shape, sampled.dtype) == ((2, 84, 84, 4), np.uint8)
    assert np.array_equal(np.unique(sampled), np.arange(256))
    each_its_own = tensor_spec.BoundedTensorSpec((2,), tf.uint8, [0, 7], [0, 7])
    assert tensor_spec.sample_bounded_spec(each_its_own).numpy().tolist() == [0, 7]
    actions = tensor_spec.sample_bounded_spec(
        tensor_spec.BoundedTensorSpec((1000,), tf.int64, 0, 3)
    )
    assert actions.dtype == tf.int64
    assert np.array_equal(np.unique(actions), np.arange(4))
