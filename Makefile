# Every target that runs something sets up its own environment first.
#
#   PYTHON        interpreter that creates the environment
#   VENV          folder of the environment
#   REQUIREMENTS  what is installed; with the official Detectron2 in VENV:  "-e .[dev]"
#   CONSTRAINTS   exact versions; /dev/null takes the newest ones
#   ARGS          appended to the command that a target runs
#   WORKERS       processes of make test; the tests of a file stay in one of them

PYTHON ?= python3
VENV ?= .venv
REQUIREMENTS ?= -r requirements-dev.txt
CONSTRAINTS ?= constraints.txt
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INPUTS := pyproject.toml constraints.txt requirements-dev.txt \
  $(addprefix packaging/detectron2/,pyproject.toml hatch_build.py fixes.py)
BENCHMARKS := confusion graph half_on_cpu head hrnet loader node_selection predict scaling step transport

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install
install: $(STAMP)  ## create the environment and install everything into it

$(STAMP): $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo 'Python 3.10 or newer is needed: make PYTHON=python3.x ...' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q $(REQUIREMENTS) -c $(CONSTRAINTS)
	@touch $@

.PHONY: toy
toy: $(STAMP)  ## run the whole pipeline on the toy datasets
	$(BIN)/python train_net.py --config-file configs/toy.yaml $(ARGS)

.PHONY: test
test: $(STAMP)  ## run the tests that need nothing but a CPU
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile \
	    -m 'not (slow or browser or faults or gpu or net)' $(ARGS)

.PHONY: test-faults
test-faults: $(STAMP)  ## run the tests that break running jobs
	$(BIN)/python -m pytest -q -m faults $(ARGS)

.PHONY: soak
soak: $(STAMP)  ## 20,000 tiny iterations: memory, open files, losses
	$(BIN)/python tests/faults/soak.py $(ARGS)

.PHONY: test-browser
test-browser: $(STAMP)  ## run the tests that drive the demo in a browser
	$(BIN)/python -m pytest -q -m browser $(ARGS)

.PHONY: lint
lint: $(STAMP)  ## check style, format and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

.PHONY: types
types: $(STAMP)  ## check the types of unilabel/core
	$(BIN)/mypy

.PHONY: check
check: lint types test  ## lint, types and test

.PHONY: format
format: $(STAMP)  ## mend what the linter can mend, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(STAMP)  ## measure everything that needs no GPU (minutes), write benchmarks/README.md
	@status=0; for name in $(BENCHMARKS); do echo "== $$name"; \
	  OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/$$name.py \
	    --json benchmarks/results/$$name.json $(ARGS) || status=1; done; \
	  $(BIN)/python benchmarks/report.py && exit $$status

.PHONY: clean
clean:  ## remove caches and build products; keeps the environment and output/
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
