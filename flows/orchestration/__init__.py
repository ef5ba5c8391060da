"""Everything about Prefect that is not a flow itself."""
