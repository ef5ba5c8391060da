"""The AWS credentials of what is signed without a client of boto3, and why there are none.

botocore is imported when it is needed first: only plans that sign need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stores.errors import OfframpError, PermanentError, PlanError, TransientError


@dataclass(frozen=True, slots=True)
class Words:
    """How a store speaks of its credentials."""

    code: str
    """The error code where there are none."""
    away: str
    """The error code while they cannot be renewed."""
    profile_key: str
    """The key of the plan that names a profile."""
    endpoint_key: str
    """The key of the plan that names the server."""
    purpose: str
    """What is signed."""


def find_credentials(profile: str | None, region: str, words: Words) -> Any:
    """Return botocore's credentials, which renew themselves; raises PlanError for a profile that does not exist.

    Raises PermanentError where there are none, TransientError where waiting may help.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

    from stores.aws import MAKING, session

    try:
        with MAKING:
            credentials = session(profile, region).get_credentials()
    except ProfileNotFound as error:
        raise PlanError(
            words.code, f"there is no AWS profile {profile!r}; set {words.profile_key} to one that exists"
        ) from error
    except (BotoCoreError, ClientError, OSError) as error:
        raise unsigned(error, words) from error
    if credentials is None:
        raise PermanentError(
            words.code,
            f"there are no AWS credentials to sign {words.purpose} with; set {words.profile_key}, or give the process a"
            " role or credentials in its environment",
        )
    return credentials


def unsigned(error: Exception, words: Words) -> OfframpError:
    """Return the error of what could not be signed, by who must act."""
    from stores.aws_faults import login_fault, network_fault

    if (fault := network_fault(error, words.endpoint_key)) is not None and fault.passes:
        return TransientError(words.away, f"AWS credentials cannot be renewed: {fault.text}")
    # The driver's own text may quote what a credential process printed.
    reason = (fault.text if fault is not None else login_fault(error)) or type(error).__name__
    return PermanentError(words.code, f"there are no valid AWS credentials to sign with: {reason}")
