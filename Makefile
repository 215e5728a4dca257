# `make` lists the targets. Each target that needs the environment installs it first if necessary.

PYTHON ?= python3.11
BIN := .venv/bin
export USER_PATH := $(PATH)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# DVC runs stages with this shell; the login shell may be nologin
export SHELL := /bin/sh
# switches off a notice of mkdocs-material about later versions; requirements.txt pins the version in use
export NO_MKDOCS_2_WARNING := 1

# The environment may choose where pip and uv download from, but not where they install to, nor which versions.
unexport PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN PIP_NO_DEPS PIP_CONSTRAINT
unexport PIP_REQUIREMENT PIP_REQUIRE_HASHES PIP_NO_BINARY UV_PYTHON UV_SYSTEM_PYTHON UV_CONSTRAINT UV_OVERRIDE
unexport UV_EXCLUDE UV_EXCLUDE_NEWER UV_RESOLUTION UV_PRERELEASE UV_REQUIRE_HASHES UV_NO_BINARY UV_NO_BUILD UV_TORCH_BACKEND

IS_LOCKED := import sys; sys.exit(sys.version_info[:2] != (3, 11))
IS_OURS := $(BIN)/python -I -c '$(IS_LOCKED)' && grep -qF "$$(pwd -P)/.venv" .venv/pyvenv.cfg
# a .venv of another Python version, or made in another folder, is recreated
ifneq (yes,$(shell { $(IS_OURS); } 2>/dev/null && echo yes))
.PHONY: .venv/ready
endif

.PHONY: help git repository setup repro accept report test audit soak lint check docs lock newest

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s%s\n", $$1, $$2}' Makefile
	@echo "With a Python 3.11 of another name: make PYTHON=/path/to/python3.11 TARGET"

setup: .venv/ready  ## install the environment in .venv; the other targets do so if necessary

.venv/ready: requirements.txt pyproject.toml
	@test -w . || { echo "error: $(CURDIR) is read-only: copy it to a folder that you can write to" >&2; exit 1; }
	@"$(PYTHON)" -I -c '$(IS_LOCKED)' 2>/dev/null || { printf '%s\n' \
	"error: $(PYTHON) does not exist or is not Python 3.11, for which requirements.txt is made. Install it:" \
	"  Debian 12, Ubuntu 22.04: sudo apt install python3.11 python3.11-venv" \
	"  macOS: brew install python@3.11" \
	"  with uv (https://docs.astral.sh/uv), on any system: uv python install 3.11" \
	"If make still does not find it: make PYTHON=/path/to/python3.11 (with uv: make PYTHON=\$$(uv python find 3.11))" \
	>&2; exit 1; }
	@"$(PYTHON)" -I -c 'import ensurepip, venv' 2>/dev/null || { echo \
	"error: $(PYTHON) has no ensurepip, which the set-up needs: sudo apt install python3.11-venv" >&2; exit 1; }
	@test -e .venv || ! test -L .venv || { echo \
	"error: .venv is a link to a folder that does not exist: remove it with rm .venv" >&2; exit 1; }
	@echo "Set-up: downloads the packages of requirements.txt, 3.0 GiB on Linux (6.4 GiB in .venv), 0.4 GiB on macOS."
	@echo "It takes about 1 minute with a fast connection, 9 minutes with 50 Mbit/s."
	@free=$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}'); test "$$(uname)" != Linux || test "$$free" -ge 6 || \
	echo "note: only $$free GiB are free here; this may be too little" >&2
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --no-user --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .  # the command `murmur`
	touch $@

# DVC needs git and a repository; without these checks the error would come only after the installation
HAS_NO_SCM := grep -qs '^ *no_scm *= *[Tt]rue' .dvc/config.local
git:
	@$(HAS_NO_SCM) || command -v git >/dev/null || { echo "error: git is not installed, which DVC needs:" \
	"sudo apt install git (macOS: xcode-select --install)" >&2; exit 1; }

repository: git
	@$(HAS_NO_SCM) || \
	! LC_ALL=C git rev-parse 2>&1 | grep -q '^fatal: not a git repository' || { printf '%s\n' \
	"error: $(CURDIR) is not a git repository, which DVC needs: git init && git add --all && git commit -m start" \
	"or, without dvc exp, murmur compare and ci: printf '[core]\n    no_scm = true\n' > .dvc/config.local" >&2; exit 1; }
	@$(HAS_NO_SCM) || { git config user.name && git config user.email; } >/dev/null || printf '%s\n' \
	"note: git does not know your name, which 'dvc exp run' needs (make repro does not):" \
	"  git config --global user.name 'Your Name' && git config --global user.email you@example.org" >&2

repro: repository setup  ## run the pipeline, or what is missing or changed of it, and show the result
	@echo "Pipeline: 2 minutes on two cores with the embedded data set; what has not changed is not run again."
	@murmur repair
	dvc repro
	@echo
	@PATH="$$USER_PATH" "$(CURDIR)/$(BIN)/murmur" show

accept: repository setup  ## record an edit of code that changes no result, without training again
	murmur accept

report: setup  ## write the results of the last run to report.html
	murmur report

PYTEST := pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: git setup  ## run the tests
	@echo "Tests: 7 to 8 minutes on two cores."
	$(PYTEST)

audit: git setup  ## run each stage of each recipe with nothing but its dependencies
	python -m tests.audit_recipes

soak: audit  ## run the long tests: audit, damaged audio, the same bytes, 200 kills
	python -m tests.fuzz_audio --cases 10000
	MURMUR_SOAK=1 pytest tests/test_determinism.py
	python tests/soak.py

lint: setup  ## check style, types and documentation
	ruff check .
	ruff format --check .
	mypy
	mkdocs build --strict

check: git lint  ## lint, tests and their coverage, as in CI
	$(PYTEST) --cov --cov-fail-under=95

docs: setup  ## build the documentation in site/
	mkdocs build --strict

lock: setup  ## resolve the packages of pyproject.toml into requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make lock" \
	  pyproject.toml requirements.in --group dev -o requirements.txt

newest: git  ## run the tests with the newest versions of all packages, without the lock, in .newest
	"$(PYTHON)" -m venv --clear .newest
	.newest/bin/python -m pip install --no-user --quiet uv
	.newest/bin/uv pip install --quiet --python .newest/bin/python --group dev --editable .
	.newest/bin/uv pip freeze --python .newest/bin/python
	PATH="$(CURDIR)/.newest/bin:$$PATH" $(PYTEST)
