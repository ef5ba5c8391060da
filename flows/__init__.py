"""The order of work: plans, copying, verification, reports, the command line and the Prefect flows."""
