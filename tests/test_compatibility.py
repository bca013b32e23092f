from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from dqn_breakout import compatibility

ROOT = Path(__file__).resolve().parents[1]


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


def test_package_imports_without_tensorflow_and_then_tf_agents_works_quietly() -> None:
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


def test_tensorflow_with_keras_3_first_is_refused() -> None:
    result = run_python("import tensorflow; import dqn_breakout")
    assert result.returncode != 0
    assert "ImportError: TensorFlow was imported before dqn_breakout, with Keras 3" in result.stderr
    assert "Import dqn_breakout before tensorflow" in result.stderr


def test_tensorflow_with_legacy_keras_first_is_fine() -> None:
    result = run_python("import tensorflow; import dqn_breakout", TF_USE_LEGACY_KERAS="1")
    assert result.returncode == 0, result.stderr


def test_tf_agents_imported_first_is_mended_too() -> None:
    result = run_python(
        """
import sys, types
sys.modules["gym"] = types.ModuleType("gym")  # As where gym is installed.
from tf_agents.specs import tensor_spec
import dqn_breakout
from dqn_breakout import compatibility
assert not compatibility.samples_uint8_wrongly(tensor_spec)
""",
        TF_USE_LEGACY_KERAS="1",
    )
    assert result.returncode == 0, result.stderr


def test_preparing_again_adds_nothing() -> None:
    finders = list(sys.meta_path)
    sample = tensor_spec.sample_bounded_spec
    compatibility.prepare()
    assert sys.meta_path == finders
    assert tensor_spec.sample_bounded_spec is sample


def test_quiet_start_drops_notes_and_keeps_the_rest(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with compatibility.quiet_start():
        os.write(
            2, b"I0000 00:00:1.2  3 port.cc:153] a note\nE0000 00:00:1.2  3 gpu.cc:1] a fault\n"
        )
    os.write(2, b"I0000 after\n")
    assert capfd.readouterr().err == "E0000 00:00:1.2  3 gpu.cc:1] a fault\nI0000 after\n"


def test_quiet_start_restores_stderr_after_an_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with pytest.raises(ImportError, match="broken"), compatibility.quiet_start():
        raise ImportError("broken")
    os.write(2, b"I0000 after\n")
    assert capfd.readouterr().err == "I0000 after\n"


def test_quiet_start_leaves_notes_to_who_asks_for_them(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with compatibility.quiet_start():
        os.write(2, b"I0000 a note\n")
    assert capfd.readouterr().err == "I0000 a note\n"


def test_gymnasium_stands_in_for_a_missing_gym(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gym", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    compatibility.provide_gym()
    gym = sys.modules["gym"]
    assert gym.envs is gymnasium.envs
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gym.spaces")


def test_an_installed_gym_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gym.py").write_text("installed = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gym", raising=False)
    compatibility.provide_gym()
    assert "gym" not in sys.modules
    assert importlib.import_module("gym").installed
    del sys.modules["gym"]  # monkeypatch restores what stood there before.


def test_setuptools_is_asked_for_a_missing_distutils(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib, "import_module", asked.append)
    compatibility.provide_distutils()
    assert asked == ["setuptools"]


def test_a_distutils_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", asked.append)
    compatibility.provide_distutils()
    assert asked == []


def module_with(sample_bounded_spec: object) -> ModuleType:
    """A module like `tf_agents.specs.tensor_spec` with another sampling function."""
    module = ModuleType("tensor_spec")
    module.BoundedTensorSpec = tensor_spec.BoundedTensorSpec  # type: ignore[attr-defined]
    module.sample_bounded_spec = sample_bounded_spec  # type: ignore[attr-defined]
    return module


def upstream_before(spec, seed=None, outer_dims=None):
    """What 0.19.0 computes for a scalar bound."""
    with np.errstate(over="ignore"):
        exclusive = spec.maximum + 1 if spec.maximum < tf.int32.max else spec.maximum
    return tf.cast(
        tf.random.uniform(spec.shape, spec.minimum, exclusive, dtype=tf.int32, seed=seed),
        spec.dtype,
    )


def upstream_after(spec, seed=None, outer_dims=None):
    """What upstream's unreleased version computes."""
    exclusive = int(spec.maximum) + 1
    return tf.cast(
        tf.random.uniform(spec.shape, spec.minimum, exclusive, dtype=tf.int32, seed=seed),
        spec.dtype,
    )


def test_the_fault_is_found_and_mended_where_it_shows() -> None:
    faulty = module_with(upstream_before)
    assert compatibility.samples_uint8_wrongly(faulty)
    assert compatibility.mend_uint8_sampling(faulty)
    assert faulty.sample_bounded_spec is not upstream_before
    assert not compatibility.samples_uint8_wrongly(faulty)


def test_nothing_is_done_where_upstream_is_fixed() -> None:
    fixed = module_with(upstream_after)
    assert not compatibility.mend_uint8_sampling(fixed)
    assert fixed.sample_bounded_spec is upstream_after


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 doesn't wrap")
def test_tf_agents_0_19_has_the_fault() -> None:
    released = module_with(tensor_spec.sample_bounded_spec.__wrapped__)
    assert compatibility.samples_uint8_wrongly(released)


def test_sampled_pixels_span_all_bytes() -> None:
    pixels = tensor_spec.BoundedTensorSpec((84, 84, 4), tf.uint8, 0, 255)
    sampled = tensor_spec.sample_spec_nest(pixels, outer_dims=(2,)).numpy()
    assert sampled.shape == (2, 84, 84, 4)
    assert sampled.dtype == np.uint8
    assert np.array_equal(np.unique(sampled), np.arange(256))


def test_sampling_keeps_bounds_of_each_element_and_other_types() -> None:
    bytes_spec = tensor_spec.BoundedTensorSpec((2,), tf.uint8, [0, 7], [0, 7])
    assert tensor_spec.sample_bounded_spec(bytes_spec).numpy().tolist() == [0, 7]
    actions = tensor_spec.BoundedTensorSpec((1000,), tf.int64, 0, 3)
    sampled = tensor_spec.sample_bounded_spec(actions)
    assert sampled.dtype == tf.int64
    assert np.array_equal(np.unique(sampled), np.arange(4))
