# One command each: run, test, lint, bench, docs, golden. Every target makes the virtual environment it needs.
# With CI=true, test installs everything (torch, Prometheus, Slurm; needs root) and an unexpected skip is a failure.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CI ?= false
LISTEN ?= 127.0.0.1:10187
ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
VALIDATE_ARGS ?=

DEBIAN_TEST := prometheus
ifeq ($(CI),true)
DEBIAN_TEST += systemd gcc libc6-dev slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge util-linux prometheus-alertmanager
endif

.DEFAULT_GOAL := help
.PHONY: help run test lint bench validate-gpu docs golden clean programs training helm

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## install and serve this machine's numbers on http://127.0.0.1:10187/metrics
	@exec $(BIN)/wattribute agent --web.listen-address=$(LISTEN) $(ARGS)

test: $(VENV)/.dev programs training helm ## all tests that this machine can run, then what was skipped and why
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## what a tick and a scrape cost, beside a C program that reads everything
	@command -v gcc >/dev/null || .ci/debian gcc libc6-dev
	$(BIN)/python -m bench $(BENCH_ARGS)

validate-gpu: $(VENV)/.dev ## on a machine with an NVIDIA GPU: measure what the agent takes for granted (10 minutes)
	$(BIN)/python -m bench.validate_gpu $(VALIDATE_ARGS)

golden: $(VENV)/.dev ## accept the current pages as the golden scrapes; review the diff
	$(BIN)/python -m tests.system.golden
	git --no-pager diff --stat -- tests/golden

docs: $(VENV)/.dev ## write the generated references again
	$(BIN)/python -m exporter.config --markdown > docs/reference/configuration.md
	$(BIN)/python -m exporter.config --example > docs/examples/wattribute.yaml
	$(BIN)/python -m exporter.exposition.reference > docs/reference/metrics.md
	$(BIN)/python -m exporter.cli.reference > docs/reference/cli.md
	$(BIN)/python -m tests.helm.values_table > docs/reference/chart.md

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

programs:
	@.ci/debian $(DEBIAN_TEST)

helm: $(VENV)/.runtime
	@.ci/helm $(BIN)/python

training: $(VENV)/.dev
ifeq ($(CI),true)
	$(BIN)/pip install --quiet --group training
endif

$(VENV)/.runtime: pyproject.toml
	@.ci/venv "$(PYTHON)" $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --group dev
	@touch $@
