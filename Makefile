# Everything happens in .venv; nothing else on the machine is touched, but by `make browser`. A second call installs
# nothing.
PYTHON ?= python3
BIN := .venv/bin
# torchvision and timm live apart, for the tests of backbones: torchvision's wheel does not import beside a CPU-only
# PyTorch without a shim, and timm imports it. Weights of a model hub are not needed.
TORCHVISION := .venv/torchvision

.PHONY: setup demo demo-model browser test test-slow newcomer lint bench bench-dynamic-conv bench-growth bench-first-light bench-reports bench-channels bench-bands bench-shallow tables docs clean
.DEFAULT_GOAL := setup

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "anychan needs Python 3.11 or newer; name one by PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/.tested: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs,export,hub,page,ray]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(TORCHVISION) torchvision timm
	@touch $@

demo: .venv/.installed
	$(BIN)/anychan demo --out runs/demo

# the model inside the package, trained anew and written there; a minute or two on an idle core
demo-model: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/make_demo_model.py

# Debian's Chromium for the tests that open a page; without it they are skipped
browser:
	sh scripts/install_browser.sh

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 -m 'not slow and not torchvision'
	PYTHONPATH=tests/torchvision_shim:$(TORCHVISION) $(BIN)/python -m pytest -m torchvision tests/models tests/e2e tests/test_benchmark_speed.py

test-slow: .venv/.tested
	$(BIN)/python -m pytest -m slow

# the quick start's commands in a fresh environment of the wheel: 1.5 GB in a temporary folder, for some minutes
newcomer: .venv/.tested
	$(BIN)/python -m pytest tests/e2e/test_newcomer.py

# make bench DATA=path/to/tiny-imagenet-50.zip [SCALE=gpu]: speed, in 25 minutes at most; fails where a promise does
SCALE ?= cpu
bench: .venv/.tested
	@test -n "$(DATA)" || { echo "say where tiny-imagenet-50.zip is: make bench DATA=..."; exit 2; }
	PYTHONPATH=tests/torchvision_shim:$(TORCHVISION) $(BIN)/python benchmarks/speed.py --scale $(SCALE) --data $(DATA); \
	  found=$$?; $(BIN)/python benchmarks/tables.py && exit $$found

# how long each backend of dynamic convolution takes: the planner's table
bench-dynamic-conv: .venv/.tested
	$(BIN)/python benchmarks/dynamic_conv.py --scale $(SCALE)

# how time grows with channels, kernels, batch and size
bench-growth: .venv/.tested
	$(BIN)/python benchmarks/growth.py --scale $(SCALE)

bench-first-light: .venv/.tested
	@test -n "$(DATA)" || { echo "say where tiny-imagenet-50.zip is: make bench-first-light DATA=..."; exit 2; }
	$(BIN)/python benchmarks/first_light.py --scale $(SCALE) --data $(DATA) --fresh
	$(BIN)/python benchmarks/tables.py

# two hours on 2 cores; goes on where it was stopped
bench-reports: .venv/.tested
	@test -n "$(DATA)" || { echo "say where tiny-imagenet-50.zip is: make bench-reports DATA=..."; exit 2; }
	$(BIN)/python benchmarks/reports.py --scale $(SCALE) --data $(DATA) --jobs 2
	$(BIN)/python benchmarks/tables.py

# three hours on 2 cores; goes on where it was stopped
bench-channels: .venv/.tested
	@test -n "$(DATA)" || { echo "say where tiny-imagenet-50.zip is: make bench-channels DATA=..."; exit 2; }
	$(BIN)/python benchmarks/channels.py --scale $(SCALE) --data $(DATA) --jobs 2
	$(BIN)/python benchmarks/tables.py

# two and a half hours on 2 cores; DATA is the folder with eurosat-ms-mini.zip, cell-cycle.npz and samson.mat
bench-bands: .venv/.tested
	@test -n "$(DATA)" || { echo "say which folder holds the data: make bench-bands DATA=..."; exit 2; }
	$(BIN)/python benchmarks/bands.py --scale $(SCALE) --data $(DATA) --jobs 2
	$(BIN)/python benchmarks/many_bands.py --scale $(SCALE)
	$(BIN)/python benchmarks/tables.py

# seven hours on 2 cores, half of them the rival's; goes on where it was stopped
bench-shallow: .venv/.tested
	@test -n "$(DATA)" || { echo "say where tiny-imagenet-50.zip is: make bench-shallow DATA=..."; exit 2; }
	$(BIN)/python benchmarks/shallow.py --scale $(SCALE) --data $(DATA) --jobs 2
	$(BIN)/python benchmarks/tables.py

tables: .venv/.tested
	$(BIN)/python benchmarks/tables.py

docs: .venv/.tested
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf site .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
