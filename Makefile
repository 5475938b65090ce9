# `make demo`, `make test` and `make bench` do all their own set-up, in .venv. Another Python: make test PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
SOURCES := setup.py pyproject.toml README.md $(shell find keras_vae ops -name '*.py')

.PHONY: demo test test-slow bench lint clean

demo: .venv/examples
	$(BIN)/python examples/quickstart.py

# Against the installed package: `pytest`, unlike `python -m pytest`, leaves the source tree off the path.
test: lint
	$(BIN)/pytest

# And all that is said of ops and layers, with XLA as users have it: tests/conftest.py.
test-slow: lint
	$(BIN)/pytest -m slow
	XLA_FLAGS= $(BIN)/pytest tests/ops tests/layers

# Against its peers, on this machine: make bench ARGS="--quick --data-dir FOLDER"
bench: .venv/bench
	$(BIN)/python examples/benchmarks/run.py $(ARGS)

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A stamp per extra. build/ is setuptools' scratch folder, and would carry deleted files into the wheel.
.venv/%: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	rm -rf build
	$(BIN)/pip install --quiet ".[$*]"
	rm -rf build
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
