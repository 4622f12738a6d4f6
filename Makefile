# The commands of this repository. `make up` runs the platform, `make test` tests it; neither needs anything done first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
export UV_PYTHON_DOWNLOADS := never
# Bytecode is kept. Without it every command and every process of the platform compiles a thousand files before it begins.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
UV := .tools/bin/uv
UV_VERSION := 0.13.9
BIN := .venv/bin
# Where a Python is named and .venv was made with another one, it is made anew.
ifneq ($(filter command environment,$(origin PYTHON)),)
ANOTHER := $(shell [ ! -e $(BIN)/python ] || [ "$$($(PYTHON) --version)" = "$$($(BIN)/python --version)" ] || echo yes)
endif
SERVICES := $(notdir $(wildcard services/*))
EDITABLE := -e libs/common $(foreach s,$(SERVICES),-e services/$(s))
DISTRIBUTIONS := libs/common/pyproject.toml $(foreach s,$(SERVICES),services/$(s)/pyproject.toml)
SOURCES := libs/common/stylobate $(foreach s,$(SERVICES),services/$(s)/stylobate_$(s)) modules bench scripts

.PHONY: another help up dev test soak fuzz check format lock generate bench measure release dist clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.13 …"; exit 1; }
	@echo "getting uv"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools "uv==$(UV_VERSION)"

# also when this file changes: an environment that is there gets what a new one would, pip for one
.venv/runtime.stamp: $(UV) requirements/runtime.lock $(DISTRIBUTIONS) VERSION Makefile $(if $(ANOTHER),another)
	@echo "installing the platform"
	@$(UV) venv --quiet --seed $(if $(ANOTHER),--clear,--allow-existing) --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --require-hashes requirements/runtime.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation $(EDITABLE)
	@$(BIN)/python -m compileall -q -x /templates/ libs/common/stylobate services/*/stylobate_*
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements/dev.lock
	@echo "installing the tools"
	@$(UV) pip install --quiet --require-hashes -r requirements/dev.lock
	@touch $@

another:

up: .venv/runtime.stamp ## run the whole platform here (Ctrl-C stops it)
	@exec $(BIN)/stylobate up $(ARGS)

dev: .venv/runtime.stamp ## the same, restarted when a file is saved
	@exec $(BIN)/stylobate dev $(ARGS)

test: .venv/dev.stamp ## every test that is not a soak test
	@$(BIN)/python scripts/compile_tests.py
	$(BIN)/pytest -m "not soak" -n 6 --dist loadscope --no-loadscope-reorder $(ARGS)

soak: .venv/dev.stamp ## the long tests
	$(BIN)/pytest -m soak --timeout 3600 $(ARGS)

fuzz: .venv/dev.stamp ## the tests that make up their examples, with new ones
	$(BIN)/pytest -m "hypothesis and not soak" -n 2 --hypothesis-profile search $(ARGS)

check: .venv/dev.stamp ## linters, types, contracts, drift, manifests
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint
	scripts/check_breaking.sh
	scripts/check_generated.sh
	$(BIN)/python scripts/check_manifests.py

format: .venv/dev.stamp ## bring the code into its form
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

lock: $(UV) ## pin the requirements anew, with hashes
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 $(ARGS) requirements/runtime.in -o requirements/runtime.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 $(ARGS) requirements/vault.in -o requirements/vault.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 $(ARGS) requirements/dev.in -o requirements/dev.lock

generate: .venv/dev.stamp ## code from proto/, and docs/reference from the code
	scripts/generate.sh
	$(BIN)/python scripts/generate_reference.py

bench: .venv/dev.stamp ## side-by-side benchmarks; ARGS="P1 P8" for some, ARGS=--plot for the page
	$(BIN)/python -m bench $(ARGS)

measure: .venv/dev.stamp ## lines, files, what stands twice, and what a request walks through; ARGS=-v names it
	$(BIN)/python scripts/measure.py $(ARGS)

release: .venv/dev.stamp ## keep the contracts as released: later ones may add to them and break nothing
	$(BIN)/buf build --exclude-source-info -o proto/released.binpb

dist: .venv/dev.stamp ## build every wheel into dist/
	$(BIN)/python scripts/build_wheels.py dist

clean: ## remove what was built and installed (not .stylobate, see `stylobate reset`)
	rm -rf .venv .tools dist
