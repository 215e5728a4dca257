# `make repro` runs the complete pipeline, `make test` the tests. Each installs the environment first if necessary.
# `make report` writes the results of the last run to report.html, `make docs` the documentation to site/.

PYTHON ?= python3.11
BIN := .venv/bin
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
IS_OURS := $(BIN)/python -I -c '$(IS_LOCKED)' && grep -qF '$(CURDIR)/.venv' $(BIN)/activate
# a .venv of another Python version, or made in another folder, is recreated
ifneq (yes,$(shell { $(IS_OURS); } 2>/dev/null && echo yes))
.PHONY: .venv/ready
endif

.PHONY: repository setup repro report test lint check docs lock

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml
	@test -w . || { echo "error: $(CURDIR) is read-only: copy it to a folder that you can write to" >&2; exit 1; }
	@"$(PYTHON)" -I -c '$(IS_LOCKED)' 2>/dev/null || { echo "error: $(PYTHON) does not exist or is not Python 3.11,\
	 for which requirements.txt is made: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --no-user --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .  # the command `murmur`
	touch $@

# DVC needs a git repository; without this check the error would come only after the installation
repository:
	@grep -qs '^ *no_scm *= *[Tt]rue' .dvc/config.local || \
	! LC_ALL=C git rev-parse 2>&1 | grep -q '^fatal: not a git repository' || { printf '%s\n' \
	"error: $(CURDIR) is not a git repository, which DVC needs: git init && git add --all && git commit -m start" \
	"or, without dvc exp, murmur compare and ci: printf '[core]\n    no_scm = true\n' > .dvc/config.local" >&2; exit 1; }

repro: repository setup
	dvc repro

report: setup
	murmur report

PYTEST := pytest -n auto --maxprocesses 4 --dist loadfile

test: setup
	$(PYTEST)

lint: setup
	ruff check .
	ruff format --check .
	mypy
	mkdocs build --strict

check: lint
	$(PYTEST) --cov --cov-fail-under=95

docs: setup
	mkdocs build --strict

lock: setup
	uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make lock" \
	  pyproject.toml requirements.in --group dev -o requirements.txt
