# Two commands: `make repro` runs the whole pipeline, `make test` the tests. Each sets up what it needs.
# `make report` writes what the last run found to report.html.

PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup repro report test check lock

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .  # the command `murmur`
	touch $@

repro: setup
	dvc repro

report: setup
	murmur report

test: setup
	pytest -n auto --maxprocesses 4 --dist loadfile

check: setup
	ruff check .
	ruff format --check .
	mypy

lock: setup
	uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make lock" requirements.in -o requirements.txt
