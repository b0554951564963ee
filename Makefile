# Two commands: `make benchmark` and `make test`. Both make the environment first, once.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# TensorFlow with CUDA where an NVIDIA driver answers, TensorFlow for CPUs elsewhere.
EXTRA ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
PINS := requirements/$(EXTRA).txt
STAMP := $(VENV)/.installed-$(EXTRA)

.PHONY: benchmark smoke test test-extras drill extras lint environment up status down pins

benchmark: environment
	@$(BIN)/stratbench benchmark full

smoke: environment
	@$(BIN)/stratbench benchmark smoke

test: environment lint
	@$(BIN)/python -m pytest

# What needs an extra, which no process should load that does not: the templates of container pools, completed by
# Prefect's own workers, and results in an object store.
test-extras: extras
	@PYTHONPATH=build/extras $(BIN)/python -m pytest tests/test_templates.py tests/results tests/data/test_exchange.py

# All fault drills, of which `make test` does a few; prints their table (75 minutes).
drill: extras
	@$(BIN)/python -m pytest tests/drills tests/flows/stack/test_automations.py \
	  tests/flows/stack/test_notifications.py -m "drill or not drill"

extras: environment
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	  --target build/extras -r requirements/extras.txt

lint: environment
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pymarkdown --strict-config scan README.md CHANGELOG.md docs

up status down: environment
	@$(BIN)/stratbench $@

environment: $(STAMP)

# Installed once; again only when the pins or the project's own description change.
$(STAMP): $(PINS) pyproject.toml
	@case "$$(uname -s)" in MINGW*|MSYS*|CYGWIN*) \
	  echo "stratbench does not run on native Windows; use WSL2, where it is a Linux program" >&2; exit 2;; esac
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"stratbench needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; say for example: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "installing the environment into $(VENV) (once, $(EXTRA) build of TensorFlow; 1 to 5 minutes, about 2 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.installed-*
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(PINS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Renews the pins; needs the tool uv.
pins:
	@for extra in cpu gpu; do \
	  uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra $$extra --extra dev \
	    --generate-hashes --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    -o requirements/$$extra.txt >/dev/null; done
	@mkdir -p build
	@uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra docker --extra kubernetes \
	  --extra s3 --group extras --constraint requirements/cpu.txt --generate-hashes --strip-extras --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links -o build/extras-and-cpu.txt >/dev/null
	@$(PYTHON) -c 'import re, pathlib; \
	  read = lambda name: re.split(r"\n(?=\S)", pathlib.Path(name).read_text().strip()); \
	  named = lambda pin: re.split(r"[=;\s]", pin)[0]; \
	  known = set(map(named, read("requirements/cpu.txt"))); \
	  print(*(pin for pin in read("build/extras-and-cpu.txt") if named(pin) not in known), sep="\n")' \
	  > requirements/extras.txt
