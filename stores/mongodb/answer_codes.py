"""The codes of a MongoDB's refusals, by who must act."""

from __future__ import annotations

from typing import Final

TRANSIENT_CODES: Final = frozenset(
    {6, 7, 43, 63, 64, 89, 91, 133, 134, 150, 175, 189, 202, 237, 262, 290, 317}
    | {9001, 10107, 11600, 11601, 11602, 13388, 13435, 13436}
)
"""After these the same read may succeed: a killed cursor or operation, a fail-over, a moved chunk (R108)."""
LOGIN_CODE: Final = 18
FORBIDDEN_CODE: Final = 13
ATLAS_CODE: Final = 8000
AUTH_CODES: Final = frozenset((FORBIDDEN_CODE, LOGIN_CODE, ATLAS_CODE))
"""The codes of a wrong login and of a missing privilege; Atlas has one code for both."""
