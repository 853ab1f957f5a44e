"""What takes longer than anybody waits, in the place of work that is done in another process."""

from __future__ import annotations

import time
from typing import NoReturn


def work(*_: object, **__: object) -> NoReturn:
    """Do not end."""
    while True:
        time.sleep(3600)
