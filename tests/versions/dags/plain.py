"""DAGs with nothing in them that Airflow 3.1 does not know."""

import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import dag, get_current_context, task


def hold():
    """Stay until the file named in the conf is there, as a long task would."""
    gate = Path(get_current_context()["dag_run"].conf["gate"])
    give_up = time.monotonic() + 120
    while not gate.exists():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{gate} never came")
        time.sleep(0.1)


@dag(schedule=None)
def one_task():
    @task
    def double():
        return {"doubled": 2 * get_current_context()["dag_run"].conf.get("number", 21)}

    double()


@dag(schedule=None)
def echoes():
    """What it was called with, when its pool is open.

    A task fails that cannot reach the API server in time, as after an outage.
    """

    @task(pool="echoes", retries=5, retry_delay=timedelta(seconds=1))
    def echo():
        return get_current_context()["dag_run"].conf

    echo()


@dag(schedule=None)
def returns_nothing():
    @task(pool="returns_nothing")
    def nothing():
        pass

    nothing()


@dag(schedule=None)
def held_teardown():
    @task
    def answer():
        return {"answer": 42}

    @task
    def put_away():
        hold()

    answer() >> put_away().as_teardown()


@dag(schedule=None, tags=["result:work"])
def held_clean_up():
    @task
    def work():
        raise ValueError("not today")

    @task(trigger_rule="all_done")
    def clean_up():
        hold()

    work() >> clean_up()


@dag(schedule=None)
def raises():
    @task
    def work(number):
        try:
            return [][number]
        except IndexError as error:
            raise ValueError(f"no {number}\nin many words") from error

    work.expand(number=[7])


@dag(schedule=None, max_active_runs=1)
def one_at_a_time():
    @task
    def occupy():
        hold()
        return "done"

    occupy()


one_task()
echoes()
returns_nothing()
held_teardown()
held_clean_up()
raises()
one_at_a_time()
