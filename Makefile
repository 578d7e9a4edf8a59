# Two commands set everything up on a machine with Python 3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BENCH ?= .venv-bench

.PHONY: demo test check docs bench clean

demo: $(VENV)/.demo ## run the main job on the tutorial dataset, or on FILE=...
	$(VENV)/bin/python examples/quickstart.py $(FILE)

test: $(VENV)/.test ## the whole test suite
	$(VENV)/bin/python -m pytest -n auto $(ARGS)

check: $(VENV)/.test ## format, lint and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.docs ## the documentation site, in docs/_build/html; make clean runs its notebooks anew
	$(VENV)/bin/sphinx-build -W --keep-going -n -E -q -j auto docs docs/_build/html

bench: $(BENCH)/.bench ## speed and memory beside gammapy, and agreement with it
	$(BENCH)/bin/python -m pytest tests/test_peer.py tests/test_ogip.py tests/test_project.py tests/test_model_yaml.py -k "peer or gammapy" -rs
	$(BENCH)/bin/python -m pytest tests/test_coming_from_gammapy.py tests/test_interop_gammapy.py tests/test_interop_healpix.py -rs
	$(BENCH)/bin/python -m pytest tests/benchmarks --benchmark-skip -rs
	$(BENCH)/bin/python -m pytest tests/benchmarks --benchmark-only --benchmark-columns=min,median,rounds -s

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(BENCH)/bin/python:
	$(PYTHON) -m venv $(BENCH)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -e '.[plot]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -e '.[test]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -e '.[docs]'
	@touch $@

$(BENCH)/.bench: pyproject.toml | $(BENCH)/bin/python
	$(BENCH)/bin/python -m pip install -q -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH) output build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
