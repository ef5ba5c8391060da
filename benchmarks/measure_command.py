"""Run one command and print its cost, with that of its children: ``python -I -S measure_command.py COMMAND...``.

It is a small process of its own because Linux counts a child's peak memory from the moment it is forked: forked from a
large process, a small program would look as large.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the command with its output going to standard error, and print one line of JSON."""
    began = time.monotonic()
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, used = os.wait4(pid, 0)
    found = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": time.monotonic() - began,
        "peak_mb": used.ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
