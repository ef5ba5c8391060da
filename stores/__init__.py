"""All input and output: one module per system, each the only importer of that system's client."""
