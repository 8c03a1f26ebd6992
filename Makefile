# make run: a few-shot experiment on whatever data this machine can have.   make test: the test suite, in minutes.
# make test-all: with the tests that take long or start processes.   make lint: style and types.
# make speed: every engine against its peers.   make docs: the documentation, into site/.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2

# Each worker computes with one thread: two workers are faster than one with two threads
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest

.PHONY: run test test-all lint speed docs

run: $(VENV)/installed
	$(VENV)/bin/python -m metalearn.run $(ARGS)

speed: $(VENV)/installed
	$(VENV)/bin/python experiments/speed/benchmark.py $(ARGS)

test: $(VENV)/installed-test
	$(PYTEST) -n $(WORKERS) --dist loadfile $(ARGS)

# In the order of the folders: tests of many processes, which take minutes a file, come before the short ones
test-all: $(VENV)/installed-test $(VENV)/installed-docs
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not gpu" $(ARGS)

lint: $(VENV)/installed-test
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

docs: $(VENV)/installed-docs
	$(VENV)/bin/python -m mkdocs build --strict $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps make both targets idempotent: installed anew only when pyproject.toml changes
$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/installed

$(VENV)/installed-docs: $(VENV)/bin/python pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable ".[docs]"
	touch $@ $(VENV)/installed
