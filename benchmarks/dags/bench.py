"""The DAGs that are measured."""

import time

from airflow.sdk import dag, task, teardown


@dag(schedule=None, tags=["result:answer"])
def one_task():
    """A result and nothing else."""

    @task
    def answer():
        return {"answer": 42}

    answer()


@dag(schedule=None, tags=["result:answer"])
def slow_teardown():
    """A result, and 20 s of clean-up after it."""

    @task
    def answer():
        return {"answer": 42}

    @teardown
    @task
    def clean_up():
        time.sleep(20)

    answer() >> clean_up()


@dag(schedule=None, tags=["result:answer"])
def early_failure():
    """A failure at once, and 15 s of clean-up after it, which ends well."""

    @task
    def load():
        raise ValueError("no data")

    @task
    def answer():
        return {"answer": 42}

    @task(trigger_rule="all_done")
    def clean_up():
        time.sleep(15)

    load() >> answer() >> clean_up()


@dag(schedule=None, tags=["result:answer"], max_active_runs=1)
def parked():
    """Runs that do not end: the first sleeps, and the others wait for it."""

    @task
    def answer():
        time.sleep(7200)

    answer()


one_task()
slow_teardown()
early_failure()
parked()
