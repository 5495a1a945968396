# Two commands for a newcomer: `make demo` and `make test`. Each makes its own .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most tests wait for processes that they start, so two share two cores well; the tests of one file stay together.
TEST_PROCESSES ?= 2
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary

.DEFAULT_GOAL := help
# `make -j test` must not mix the output of the checks, nor hide which one failed.
.NOTPARALLEL:
.PHONY: help demo test lint types unit proto bench accept arena-model clean

help:
	@echo 'make demo         server, synthetic camera and live table, as separate processes; needs Python 3.11 or newer'
	@echo 'make test         lint, types and unit: every check there is'
	@echo 'make bench        latency of the gRPC path beside the bare inference'
	@echo 'make accept       the accuracy, following and latency that a release has to reach (about four hours)'
	@echo 'make arena-model  train the bundled model anew on the synthetic arena'
	@echo 'make proto        generate the Python stubs of proto/'
	@echo 'make clean        remove .venv, caches and demo output'

$(VENV)/.stamp-venv: scripts/make_venv.py
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here; on Debian or Ubuntu run: sudo apt install python3-venv"; exit 1; }
	@$(PYTHON) scripts/make_venv.py
	@touch $@

$(VENV)/.stamp-server: pyproject.toml $(VENV)/.stamp-venv
	@echo 'Installing poseloop and what its server needs into .venv (once, about a minute)'
	@$(PIP_INSTALL) --editable '.[server]'
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(VENV)/.stamp-server
	@echo 'Installing what training and the tests need into .venv (once, a few minutes: PyTorch is large)'
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.stamp-server
	@$(BIN)/poseloop demo

test: lint types unit

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/generate_stubs.py --check

types: $(VENV)/.stamp-dev
	$(BIN)/mypy

unit: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

proto: $(VENV)/.stamp-dev
	$(BIN)/python scripts/generate_stubs.py

bench: $(VENV)/.stamp-server
	$(BIN)/poseloop bench latency --transport grpc --size 640x480 --fps 60 --frames 600

accept: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -m heavy
	$(BIN)/python scripts/accept.py all

arena-model: $(VENV)/.stamp-dev
	$(BIN)/python scripts/train_arena_model.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output
