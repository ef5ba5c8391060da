.PHONY: check format test soak demo docs bench

check:  ## format, lint, types, layering, generated files current
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m flows.schema --check
	python -m flows.values_page --check

format:
	ruff format .
	ruff check --fix .
	python -m flows.schema --write
	python -m flows.values_page --write

test:  ## every test, on real local servers
	pytest

soak:  ## the longer variants
	pytest -m soak

bench:  ## what the program costs, against plain scripts and against reading alone
	python -m benchmarks

demo:
	offramp demo
