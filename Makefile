.PHONY: check format test soak ray demo docs bench

check:  ## format, lint, types, layering, generated files current
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m flows.plan.json_schema --check
	python -m flows.docgen.values --check
	python -m flows.orchestration.deployments --check
	python -m flows.docgen.errors --check

format:
	ruff format .
	ruff check --fix .
	python -m flows.plan.json_schema --write
	python -m flows.docgen.values --write
	python -m flows.orchestration.deployments --write
	python -m flows.docgen.errors --write

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
