# layerquant: `make demo` on a fresh machine is enough to see it work. Needs Python 3.11+, a C/C++ compiler and make.
# A GPU build: CMAKE_ARGS="-DGGML_CUDA=on" make setup (kept by later runs). See docs/install.md.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long check format clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv from uv.lock (compiles llama.cpp once; milliseconds when nothing changed)
	@$(PYTHON) tools/set_up.py

demo: setup ## search on the bundled model, show the table, export the winner and a report page
	$(BIN)/layerquant search configs/demo.yaml --studies studies
	$(BIN)/layerquant report demo --studies studies --html studies/demo/report.html
	$(BIN)/layerquant export demo --studies studies --as gguf -o studies/demo/demo-IQ4_XS-layerquant.gguf

test: setup ## the test suite
	$(BIN)/pytest --durations=10

test-long: setup ## the tests that take longer: fault matrices, real servers, browsers
	@$(BIN)/pytest -m long --durations=10; status=$$?; \
	if [ $$status -eq 5 ]; then echo "no test is marked long"; exit 0; fi; exit $$status

check: setup ## ruff, format and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

format: setup ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and caches; studies stay
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
