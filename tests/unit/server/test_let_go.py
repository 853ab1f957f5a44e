"""What has been raised and is over keeps nothing alive."""

from __future__ import annotations

import pytest

from dag_inference_server.let_go import let_go


def _raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    with pytest.raises(type(error)) as raised:
        raise error from cause
    return raised.value


def test_errors_and_those_that_led_to_them() -> None:
    """None of them keeps the frames that it came through."""
    cause = _raised(ValueError("cause"))
    error = _raised(KeyError("error"), cause)

    let_go(error)

    assert error.__traceback__ is None
    assert cause.__traceback__ is None


@pytest.mark.timeout(10)
def test_errors_that_led_to_each_other() -> None:
    """A ring of causes has an end, too."""
    one = _raised(ValueError("one"))
    other = _raised(KeyError("other"), one)
    one.__cause__ = other

    let_go(other)

    assert one.__traceback__ is None
    assert other.__traceback__ is None
