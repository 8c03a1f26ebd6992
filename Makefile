# make run: a few-shot experiment on whatever data this machine can have.   make test: the test suite.
# make speed: every engine against its peers.   make docs: the documentation, into site/.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

.PHONY: run test speed docs

run: $(VENV)/installed
	$(VENV)/bin/python -m metalearn.run $(ARGS)

speed: $(VENV)/installed
	$(VENV)/bin/python experiments/speed/benchmark.py $(ARGS)

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest $(ARGS)

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
