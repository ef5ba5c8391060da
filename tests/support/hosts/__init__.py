"""Hosts of a test's own: each has its name, network, processes, mounts and, if the test wants, its own clock."""
