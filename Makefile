# Freshet's commands. Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
FRESH ?=
# A data folder belongs to one log.
DATA_DIR ?= freshet-data$(if $(LOG),-kafka)
PORT ?= 8000
KAFKA_PORT ?= 9092
LOG ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench kafka kafka-cluster kafka-stop clean

help: ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed-dev ## install Freshet and everything its tests need into .venv

demo: $(VENV)/.installed ## see it work: make demo [DATA=folder] [LOG=kafka://host:port] [FRESH=1] [PORT=8000]
	$(BIN)/freshet demo --data-dir "$(DATA_DIR)" --port $(PORT) $(if $(DATA),--data "$(DATA)") $(if $(LOG),--log "$(LOG)") $(if $(FRESH),--fresh)

test: check ## run all checks and all tests
	$(BIN)/pytest -n 2 -m "not slow and not kafka"
	$(BIN)/pytest -m "kafka and not slow"
	$(BIN)/pytest -m slow

check: $(VENV)/.installed-dev ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## measure; results go to benchmarks/results
	$(BIN)/python -m benchmarks

kafka: $(VENV)/.installed-dev ## start a real Kafka broker on loopback; needs Java 17 and Maven [KAFKA_PORT=9092]
	$(BIN)/python -m broker start --port $(KAFKA_PORT)

kafka-cluster: $(VENV)/.installed-dev ## start three brokers that replicate
	$(BIN)/python -m broker start --nodes 3 --port $(KAFKA_PORT)

kafka-stop: ## stop what `make kafka` or `make kafka-cluster` started
	$(BIN)/python -m broker stop

clean: ## remove .venv and caches; data folders stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Freshet needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,worker]'
	@touch $@
