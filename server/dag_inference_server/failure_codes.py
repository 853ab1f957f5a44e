"""The gRPC codes that a failed task may have, and why not others."""

from __future__ import annotations

ALLOWED = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
    }
)
"""Codes that everything on the way hands on as they are."""

_REPEATED = "meshes and clients repeat calls that end with it"
_FAULT = "meshes take it for a fault of the replica, which they then leave out"

REFUSED = {
    "OK": "a failure must not look like a success",
    "CANCELLED": "it says that the caller has given up",
    "UNKNOWN": _FAULT,
    "DEADLINE_EXCEEDED": "it says that the caller's deadline has passed",
    "RESOURCE_EXHAUSTED": _REPEATED,
    "UNIMPLEMENTED": "it says that the gateway does not serve the method",
    "INTERNAL": _FAULT,
    "UNAVAILABLE": _REPEATED,
    "DATA_LOSS": _FAULT,
    "UNAUTHENTICATED": "clients renew their credentials for it, and repeat the call",
}
"""All others, each with the reason. What Envoy counts as a server's error, 5xx by its own
translation, is what outlier detection goes by (envoy, `source/common/grpc/status.cc`); what its
`retry_on` knows of gRPC is what is repeated."""


def check_code(code: str) -> str:
    """The code, if a failed task may have it.

    Raises:
        ValueError: It may not, for the reason told.
    """
    if code in ALLOWED:
        return code
    choice = f"choose one of {', '.join(sorted(ALLOWED))}"
    if code in REFUSED:
        raise ValueError(f"{code} is not for failed tasks: {REFUSED[code]}; {choice}")
    raise ValueError(f"{code} is no code of gRPC; {choice}")
