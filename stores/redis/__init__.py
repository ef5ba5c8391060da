"""Redis and Valkey as a target."""
