# `make help` lists the commands. All of them work from a fresh clone: what they need, they set up.

VENV := .venv
BIN := $(VENV)/bin
# Written last, so that an interrupted set-up is not mistaken for a finished one. Holds the name and
# checksum of the lock that was installed, and where: a moved folder needs another environment.
STAMP := $(VENV)/installed-lock

# A python3.11 that runs, else python3. Another one: `make setup PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
# The lock in use stays in use: `make setup LOCK=requirements-cuda.lock` is said once.
LOCK ?= $(or $(firstword $(shell cat $(STAMP) 2>/dev/null)),requirements.lock)
STATE = "$(LOCK) $$(cksum <$(LOCK)) $(CURDIR)"
INSTALLED = [ -x $(BIN)/python ] && [ "$$(cat $(STAMP) 2>/dev/null)" = $(STATE) ]
# Of two set-ups at once the second waits for the first (where there is flock, as on Linux).
ONE_AT_A_TIME := $(shell command -v flock >/dev/null 2>&1 && echo flock pyproject.toml)

# The peers that `make bench` measures have an environment of their own. PyTorch comes without
# checksums, since builds differ; TORCH_ARGS tells pip where to get another, such as one without
# NVIDIA's libraries.
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/installed-lock
PEERS_FILES := benchmarks/requirements-peers.lock benchmarks/requirements-torch.txt
PEERS_STATE = "$$(cat $(PEERS_FILES) | cksum) $(CURDIR)"
PEERS_INSTALLED = [ -x $(PEERS)/bin/python ] && \
	[ "$$(cat $(PEERS_STAMP) 2>/dev/null)" = $(PEERS_STATE) ]
TORCH_ARGS ?=
BENCH_ARGS ?= --rounds 3 --seconds 30 --output runs/throughput.json

GIN_FILE ?= breakout.gin
PYTEST_ARGS ?=
CHAOS_ARGS ?=
UV_VERSION := 0.13.9
LOCK_ARGS ?=

# With Python's safe path, `python -m` does not find what lies in this folder.
unexport PYTHONSAFEPATH

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: ## Make .venv from the lock (LOCK=requirements-cuda.lock for NVIDIA cards on Linux)
	@{ $(INSTALLED); } 2>/dev/null || $(ONE_AT_A_TIME) $(MAKE) --no-print-directory install LOCK=$(LOCK)

# From scratch each time that it is needed: nothing of an interrupted or older one is left.
.PHONY: install
install:
	@test -r $(LOCK) || { \
		echo "There is no $(LOCK). Give one of: $(wildcard requirements*.lock)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "This needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is none of them. Install one," \
			"or say where it is: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(INSTALLED) || { \
		echo "Installing $(LOCK) into $(VENV): a few minutes, 3 GB of disk." && \
		$(PYTHON) -m venv --clear $(VENV) && \
		$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes \
			-r $(LOCK) && \
		echo $(STATE) >$(STAMP); }

.PHONY: train
train: setup ## Train (GIN_FILE=breakout.gin); the same command again continues the run
	$(BIN)/python train.py --gin_file=$(GIN_FILE)

.PHONY: test
test: setup ## Run all tests (PYTEST_ARGS="-m 'not slow'" leaves the slow ones out)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: check
check: setup ## Check style, types and import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/lint-imports

.PHONY: chaos
chaos: setup ## Kill, stop, damage and starve training, hours long (CHAOS_ARGS="--only kill" for less)
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

.PHONY: bench
bench: setup peers ## Time training beside its peers, on an idle machine (BENCH_ARGS=... for options)
	@mkdir -p runs
	$(BIN)/python -m benchmarks.throughput $(BENCH_ARGS)

.PHONY: peers
peers: setup
	@{ $(PEERS_INSTALLED); } 2>/dev/null || $(ONE_AT_A_TIME) $(MAKE) --no-print-directory install-peers

.PHONY: install-peers
install-peers:
	@$(PEERS_INSTALLED) || { \
		echo "Installing the peers into $(PEERS): a few minutes, 1 GB of disk; 6 GB where PyTorch" \
			"comes with NVIDIA's libraries (another build: TORCH_ARGS=<options of pip>)." && \
		$(BIN)/python -m venv --clear $(PEERS) && \
		$(PEERS)/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes \
			-r benchmarks/requirements-peers.lock && \
		$(PEERS)/bin/python -m pip install --disable-pip-version-check $(TORCH_ARGS) \
			-r benchmarks/requirements-torch.txt && \
		echo $(PEERS_STATE) >$(PEERS_STAMP); }

.PHONY: doctor
doctor: setup ## Check that this machine can run GIN_FILE, and say how to mend what it lacks
	$(BIN)/python -m dqn_breakout.doctor --gin_file=$(GIN_FILE)

.PHONY: tensorboard
tensorboard: setup ## Show the curves of all runs at http://localhost:6006
	$(BIN)/tensorboard --logdir runs

# The lock's versions stay where pyproject.toml allows; LOCK_ARGS=--upgrade takes the newest.
.PHONY: lock
lock: ## Make all locks again from pyproject.toml (LOCK_ARGS=--upgrade for newer versions)
	@test -x .venv-lock/bin/uv || { $(PYTHON) -m venv --clear .venv-lock && \
		.venv-lock/bin/python -m pip install --disable-pip-version-check --quiet uv==$(UV_VERSION); }
	$(UV_COMPILE) --output-file requirements.lock --custom-compile-command "make lock" >/dev/null
	$(UV_COMPILE) --output-file requirements-cuda.lock --extra cuda --constraints requirements.lock \
		--custom-compile-command "$$(printf 'make lock\n# %s' $(CUDA_NOTE))" >/dev/null
	$(UV_COMPILE_PEERS) --output-file benchmarks/requirements-peers.lock \
		--custom-compile-command "make lock" >/dev/null

# Universal: one lock for each Python and platform of pyproject.toml. Wheels only: nothing is built.
UV_COMPILE = .venv-lock/bin/uv pip compile pyproject.toml --group dev --universal \
	--python-version 3.11 --no-build --emit-build-options --generate-hashes --no-annotate --quiet \
	$(LOCK_ARGS)
# Resolved for macOS, where PyTorch's wheel needs no NVIDIA library; the hashes are of all platforms.
# PyTorch itself is left out: see benchmarks/requirements-torch.txt.
UV_COMPILE_PEERS = MACOSX_DEPLOYMENT_TARGET=14.0 .venv-lock/bin/uv pip compile \
	benchmarks/requirements-peers.in --no-config --python-platform aarch64-apple-darwin \
	--python-version 3.11 --no-build --emit-build-options --generate-hashes --no-annotate --quiet \
	--constraints requirements.lock --no-emit-package torch $(LOCK_ARGS)
CUDA_NOTE := "With NVIDIA's libraries, for Linux on x86_64. Resolved, not yet run on such a machine."

.PHONY: clean
clean: ## Remove the environments and caches; runs stay
	rm -rf .venv .venv-lock .venv-peers .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +
