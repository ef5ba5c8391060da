"""A soak: random plans, histories and faults, each judged by a reader that shares no code with offramp."""
