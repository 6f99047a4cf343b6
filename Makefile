# `make` lists the targets. PYTHON chooses the interpreter that the virtual environment is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.diffworld-installed
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo -n)
# torch goes in first and alone, so that pip takes the build (CPU or CUDA) that its own configuration offers
# and nothing after it chooses another.
TORCH := torch==2.13.0
# A process more than cores, at most 8: tests of pages wait more than they compute.
WORKERS = $(shell $(BIN)/python -c "import os; print(min(8, len(os.sched_getaffinity(0)) + 1))")

.DEFAULT_GOAL := help
.PHONY: help install demo test test-cluster browser lint types lock wheel clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
	@echo "PYTHON=... chooses the interpreter (3.11 or newer), as in: make install PYTHON=python3.12"

install: $(INSTALLED) ## make .venv with the locked versions and this package in it

$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python || { $(call check_python,$(PYTHON)) && "$(PYTHON)" -m venv $(VENV); }
	@$(call check_python,$(BIN)/python)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## train the smallest preset from nothing, into runs/demo
	$(BIN)/diffworld train --preset demo --out runs/demo

# The tests start hundreds of processes: each would compile the package again where Python keeps no bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: install browser ## run the tests side by side; all their cases with CI=true
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --no-loadscope-reorder

test-cluster: install ## run the long tests of training over several processes or nodes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m cluster

browser: ## install Chromium, which the tests of the pages drive, where there is none
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	   command -v $$name >/dev/null && exit 0; done; \
	 echo "installing Chromium with apt-get: the tests of the pages need it"; \
	 { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive \
	     apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || \
	 { echo "make: could not install Chromium; install it yourself, then run make test again" >&2; exit 1; }

lint: install ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install ## mypy on the package
	@$(BIN)/mypy src

lock: ## resolve pyproject.toml afresh and rewrite requirements.lock
	@$(call check_python,$(PYTHON))
	rm -rf .venv-lock
	"$(PYTHON)" -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet $(TORCH)
	.venv-lock/bin/python -m pip install --quiet ".[dev,minatar]"
	@{ echo "# Written by 'make lock': the exact versions of diffworld[dev,minatar] and all they need."; \
	   .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude diffworld \
	     | sed -E 's/\+[A-Za-z0-9.]+$$//'; } > requirements.lock.tmp
	@if grep -vE '^(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.!-]+)$$' requirements.lock.tmp; then \
	   rm -f requirements.lock.tmp; echo "make lock: the lines above are no exact versions" >&2; exit 1; fi
	mv requirements.lock.tmp requirements.lock
	rm -rf .venv-lock build

wheel: install ## build dist/diffworld-*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove what was built; keep .venv and runs
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .venv-lock
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Shell text that fails, with a line to say what to do, unless $(1) is Python 3.11 or newer.
define check_python
{ "$(1)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
  { echo "make: $(1) is not Python 3.11 or newer; choose one with: make install PYTHON=python3.11" \
         "(and remove $(VENV) if it was made with an older one)" >&2; exit 1; }; }
endef
