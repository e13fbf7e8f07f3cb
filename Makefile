# Everything that a contributor or CI needs. `make` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(or $(PACELINE_CACHE),$(HOME)/.cache/paceline)
UV_VERSION := 0.13.8
# uv from the PATH, else a pinned copy in the cache: a fresh machine needs Python and pip alone.
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
# The distribution's own Python where there is one: it is built with profile-guided optimization, and one that pyenv has
# compiled is not, by default. The tests start thousands of processes, and take a tenth less with it.
SYSTEM_PYTHON := $(lastword $(sort $(wildcard /usr/bin/python3.1[0-3])))
ifneq ($(SYSTEM_PYTHON),)
export UV_PYTHON ?= $(SYSTEM_PYTHON)
endif
PY := .venv/bin/python
PYTEST := .venv/bin/pytest
SYNCED := .venv/.synced
export PYTHONPATH := operator:sdk:.
# Tests start hundreds of processes. Where the environment forbids to keep compiled modules, as some containers' does, each
# of them compiles torch (2 s), Lightning or TensorFlow (8 s) anew.
unexport PYTHONDONTWRITEBYTECODE
# Nor is each clone to compile them anew: uv links the same files into each environment, with the same times.
export PYTHONPYCACHEPREFIX ?= $(CACHE)/pycache
FOCUS ?=

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@echo "uv is not on the PATH: fetching uv $(UV_VERSION) into $(CACHE)"
	@python3 -m pip install --quiet --target $(CACHE)/uv-$(UV_VERSION) uv==$(UV_VERSION) \
	  || { echo "could not fetch uv: install python3-pip, or uv itself (https://docs.astral.sh/uv/)"; exit 1; }

$(SYNCED): pyproject.toml uv.lock | $(UV)
	@$(UV) sync --locked --quiet
	@touch $@

.PHONY: setup
setup: $(SYNCED) ## Make the Python environment from the lock file

# --- the main job -----------------------------------------------------------------------------
.PHONY: run
run: $(SYNCED) ## Local Kubernetes (or KUBECONFIG's), operator by Helm, an example TrainJob, its result
	@$(PY) -m e2e.run

.PHONY: stop
stop: $(SYNCED) ## Take the local Kubernetes of `make run` down
	@$(PY) -m e2e.cluster down

# --- checks -----------------------------------------------------------------------------------
.PHONY: lint
lint: $(SYNCED) ## ruff, formatting, import layers
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports --no-cache

.PHONY: types
types: $(SYNCED) ## mypy, strict
	@.venv/bin/mypy --cache-dir $(CACHE)/mypy

.PHONY: unit
unit: $(SYNCED) ## Unit and contract tests; planning/, policies/, resources/ at 100 % branches
	@# Under the coverage tracer every line of every test takes three times as long: the others run without it.
	@$(PYTEST) tests/unit/operator_* -n 2 -m "not slow" \
	  --cov=paceline_operator.planning --cov=paceline_operator.policies --cov=paceline_operator.resources \
	  --cov-branch --cov-report=term:skip-covered --cov-fail-under=100
	@$(PYTEST) tests/unit tests/contract --ignore-glob="tests/unit/operator_*" -n 2 -m "not slow"

.PHONY: test-fast
test-fast: lint types ## Everyday checks, under two minutes
	@$(PYTEST) tests/unit tests/contract tests/simulation -n 2 -q -m "not slow"

.PHONY: simulation
simulation: $(SYNCED) ## The operator dies, or a reply is lost, at every write of every scenario
	@nice $(PYTEST) tests/simulation -n 2 -q

.PHONY: simulate
simulate: $(SYNCED) ## 20,000 simulated histories (HISTORIES=N FROM=SEED SIMULATE_SECONDS=S); REPLAY=<seed or printed history> tells one
	@$(PY) -m tests.simulation $(if $(REPLAY),'$(REPLAY)',--histories $(or $(HISTORIES),20000) --from $(or $(FROM),1) \
	  $(if $(SIMULATE_SECONDS),--seconds $(SIMULATE_SECONDS)))

.PHONY: integration
integration: $(SYNCED) ## A real API server and real storage servers, no nodes
	@$(PYTEST) tests/integration -n 2 --dist loadfile --no-loadscope-reorder --durations 25

# Environments of their own: a process that loads torch's triton after TensorFlow dies.
.venv-%/.synced: pyproject.toml uv.lock | $(UV)
	@UV_PROJECT_ENVIRONMENT=.venv-$* $(UV) sync --locked --quiet --no-default-groups --group test --group $* && touch $@

.PHONY: environments
environments: .venv-torch/.synced .venv-tensorflow/.synced

.PHONY: frameworks
frameworks: environments ## The Python API with the real torch, Lightning and TensorFlow
	@.venv-torch/bin/pytest tests/frameworks/torch && .venv-tensorflow/bin/pytest tests/frameworks/tensorflow

.PHONY: crash
crash: $(SYNCED) ## Kill workers, agents and the S3 server at every step of a checkpoint; CRASH_SAMPLE=TEXT: about a third, CRASH_FULL=1: every repetition
	@$(PYTEST) tests/crash

.PHONY: e2e
e2e: $(SYNCED) ## Real nodes; FOCUS=restart for the tests whose name has that word
	@$(PYTEST) e2e --durations 12 $(if $(FOCUS),-k "$(FOCUS)") --timeout 900

.PHONY: e2e-jobs e2e-disturbing
e2e-jobs: $(SYNCED)
	@$(PYTEST) e2e --durations 12 --timeout 900 -m "not disturbs"

e2e-disturbing: $(SYNCED) # a cluster of their own, so that `make test` can run them beside the others
	@PACELINE_TEST_BED=e2e-disturbed $(PYTEST) e2e --durations 12 --timeout 900 -m disturbs

.PHONY: test-bed
test-bed: $(SYNCED)
	@$(PY) -m e2e.cluster build

.PHONY: chaos
chaos: $(SYNCED) ## One fault after another into training jobs on real nodes, torchrun beside; 30 minutes; writes the table of the docs
	@$(PY) -m e2e.chaos --write benchmarks/results/chaos.json && $(PY) -m e2e.chaos --table benchmarks/results/chaos.json

.PHONY: test
test: $(SYNCED) ## Everything
	@$(PY) -m tests.everything

.PHONY: verify
verify: generate lint types ## Regenerate what is checked in, lint, types; fails on a dirty tree
	@git diff --exit-code --stat || { echo "generated files were out of date: commit the changes above"; exit 1; }

.PHONY: generate
generate: $(SYNCED) ## Write the CRD, its copies and the reference from the models
	@$(PY) -m paceline.api.crd --write

.PHONY: manifests
manifests: $(SYNCED) ## Write the kustomize base and the chart's table of values (builds helm the first time)
	@$(PY) -m charts.manifests --write

.PHONY: fix
fix: $(SYNCED) ## Format and mend what ruff can
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

# --- artefacts --------------------------------------------------------------------------------
.PHONY: images
images: ## Build the operator, torch, trackers and TensorFlow images with Docker or Podman
	@tool=$$(command -v docker || command -v podman) || { echo "neither docker nor podman is installed"; exit 1; }; \
	$$tool build -t paceline/operator:dev . && $$tool build -t paceline/torch:dev images/torch && \
	$$tool build -t paceline/trackers:dev images/trackers && \
	$$tool build -t paceline/tensorflow:dev images/tensorflow

.PHONY: docs
docs: $(SYNCED) ## Build the documentation site into site/
	@$(UV) run --locked --group docs --isolated mkdocs build --strict

.PHONY: bench
bench: $(SYNCED) .venv-torch/.synced ## Every figure, beside what it is compared to: control plane, storage, reports, datasets
	@$(PY) -m benchmarks.control_plane
	@$(PY) -m benchmarks.storage
	@$(PY) -m benchmarks.report
	@$(PY) -m benchmarks.data
	@$(PY) -m benchmarks.local

.PHONY: bench-scale
bench-scale: $(SYNCED) ## Thousands of pods, churn, throttling, a soak of 20 minutes; 50 minutes; writes figures and plots
	@$(PY) -m benchmarks.scale --write benchmarks/results/scale.json
	@$(PY) -m benchmarks.report_page --write
