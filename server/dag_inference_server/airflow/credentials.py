"""How the gateway proves itself to Airflow, and where its secrets come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pydantic import SecretStr

from dag_inference.errors import AirflowDenied

Secret: TypeAlias = Callable[[], str]
"""Gives a secret as it is now. Raises `AirflowDenied` if it cannot be had."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and password that fetch tokens, or a ready token. All `None`: no account."""

    username: str | None = None
    password: Secret | None = None
    token: Secret | None = None


def secret(value: SecretStr | None, file: Path | None) -> Secret | None:
    """A secret that is known, or that lies in a file; `None` if there is neither.

    The file is read each time that the secret is asked for, so that whoever changes it need
    not restart anything (as Kubernetes changes the files of a mounted `Secret`).
    """
    if value is not None:
        return value.get_secret_value
    return partial(_read, file) if file is not None else None


def _read(file: Path) -> str:
    try:
        # Editors and `echo` end a file with a line end, which is no part of it.
        content = file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AirflowDenied(
            f"the gateway cannot read {file.name}, which holds its secret"
        ) from error
    if not content:
        raise AirflowDenied(f"{file.name}, which holds the gateway's secret, is empty")
    return content
