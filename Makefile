.PHONY: check format test soak ray demo docs bench

check:  ## format, lint, types, layering, generated files current
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m flows.schema --check
	python -m flows.values_page --check
	python -m flows.deployments --check
	python -m flows.errors_page --check

format:
	ruff format .
	ruff check --fix .
	python -m flows.schema --write
	python -m flows.values_page --write
	python -m flows.deployments --write
	python -m flows.errors_page --write

test:  ## every test, on real local servers: two processes, a file's tests in one of them
	pytest -n 2 --dist loadfile --no-loadscope-reorder

soak:  ## the longer variants
	pytest -m soak

ray:  ## a run on a local Ray, which needs the extra `ray`
	pytest -m ray

bench:  ## what the program costs, against plain scripts and against reading alone
	python -m benchmarks

demo:
	offramp demo
