"""DAGs whose tasks raise exceptions."""

import logging
import os
import signal
import sys

from airflow.sdk import dag, get_current_context, task


class BadInput(Exception):
    """An exception of the DAG's author."""


def look_up():
    """Raise an exception of Python's own."""
    return {}["x"]


def of_a_cause():
    try:
        look_up()
    except KeyError as error:
        raise BadInput("no such customer") from error


def of_a_context():
    try:
        look_up()
    except KeyError:
        raise RuntimeError("while something else was handled")  # noqa: B904 - that is the case


def of_many_words():
    raise ValueError("bad input\n\n  as told in many words\x1b[0m")


def after_a_long_log():
    for number in range(3000):
        print("line", number, "." * 100)
    raise BadInput("at last")


def by_an_exit():
    try:
        look_up()
    except KeyError:
        logging.getLogger(__name__).exception("handled")
    sys.exit(3)


def by_a_signal():
    os.kill(os.getpid(), signal.SIGKILL)


WAYS = {
    way.__name__: way
    for way in (
        look_up,
        of_a_cause,
        of_a_context,
        of_many_words,
        after_a_long_log,
        by_an_exit,
        by_a_signal,
    )
}


def fail():
    """End as the conf says."""
    WAYS[get_current_context()["dag_run"].conf["way"]]()


def fail_too(context):
    """What goes wrong after a task has failed is no news."""
    raise TypeError("in the callback")


@dag(schedule=None)
def raises():
    task(task_id="work", on_failure_callback=fail_too)(fail)()


@dag(schedule=None)
def raises_before():
    @task
    def answer():
        return 42

    task(task_id="check")(fail)() >> answer()


@dag(schedule=None, tags=["result:work"])
def raises_mapped():
    @task
    def work(number):
        if number == 2:
            raise BadInput(f"no {number}, please")

    work.expand(number=[1, 2, 3])


raises()
raises_before()
raises_mapped()
