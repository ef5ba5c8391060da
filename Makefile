.PHONY: check lock lock-check format quick test real soak chaos ray demo docs bench

check:  ## format, lint, types, layering, generated files current
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m flows.plan.json_schema --check
	python -m flows.docgen.values --check
	python -m flows.orchestration.deployments --check
	python -m flows.docgen.errors --check
	python -m flows.docgen.rules --check
	python -m flows.docgen.configuration --check

lock:  ## pin what each installation needs, with hashes: make lock, make lock UPGRADE=boto3, make lock UPGRADE=all
	PYTHONPATH=tests/support python -m requirement_files --write $(UPGRADE)

lock-check:  ## the pins and hashes are those of the package index, and every supported Python and platform finds its wheels
	PYTHONPATH=tests/support python -m requirement_files --check

format:
	ruff format .
	ruff check --fix .
	python -m flows.plan.json_schema --write
	python -m flows.docgen.values --write
	python -m flows.orchestration.deployments --write
	python -m flows.docgen.errors --write
	python -m flows.docgen.rules --write
	python -m flows.docgen.configuration --write

# Property tests try fewer examples here than in `make test`.
quick:  ## the tests that need no server and no other process: under a minute on two cores
	pytest --hypothesis-profile=quick -m "not server and not process and not soak and not ray and not real"

test:  ## every test, on real local servers: about a quarter of an hour on two cores
	pytest

real:  ## on real servers of other makers, which are downloaded or built once: CONTRIBUTING.md says what they need
	pytest -n 0 -m real

soak:  ## the longer variants
	pytest -m soak

MINUTES ?= 120
JOBS ?= 2
chaos:  ## random plans under random kills and faults, each judged by an independent reader: make chaos MINUTES=120
	PYTHONPATH=tests/support python -m chaos --minutes $(MINUTES) --jobs $(JOBS) \
	    $(if $(SEED),--seed $(SEED)) $(if $(ITERATIONS),--iterations $(ITERATIONS))

ray:  ## a run on a local Ray, which needs the extra `ray`
	pytest -m ray

bench:  ## what the program costs, against plain scripts and against reading alone
	python -m benchmarks

demo:
	offramp demo
