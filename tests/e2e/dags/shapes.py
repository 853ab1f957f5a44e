"""DAGs whose results have every shape, and some that have none."""

import time

from airflow.sdk import dag, get_current_context, result, task, teardown
from airflow.sdk.exceptions import AirflowSkipException


@dag(schedule=None)
def leaf_value():
    @task
    def first():
        return 2

    @task
    def second(number):
        return number + 40

    second(first())


@dag(schedule=None)
def null_value():
    @task
    def nothing():
        return None

    return nothing()


@dag(schedule=None)
def two_results():
    @result
    @task
    def left():
        return {"side": "left"}

    @result
    @task
    def right():
        return [1, 2.5, 2**63]

    left()
    right()


@dag(schedule=None)
def mapped_result():
    @result
    @task
    def square(number):
        return number * number

    square.expand(number=[3, 1, 2])


@dag(schedule=None)
def no_result():
    @task
    def left():
        return 1

    @task
    def right():
        return 2

    left()
    right()


@dag(schedule=None)
def side_branch_fails():
    @result
    @task
    def answer():
        return {"ok": True}

    @task
    def side():
        raise ValueError("on the side")

    answer()
    side()


@dag(schedule=None)
def skipped_result():
    @result
    @task
    def answer():
        raise AirflowSkipException("not today")

    answer()


@dag(schedule=None)
def slow():
    @result
    @task
    def sleep():
        time.sleep(get_current_context()["dag_run"].conf.get("seconds", 30))
        return "awake"

    sleep()


@dag(schedule=None)
def after_teardown():
    @task
    def answer():
        return {"answer": 42}

    @teardown
    @task
    def chore():
        time.sleep(8)

    answer() >> chore()


leaf_value()
null_value()
two_results()
mapped_result()
no_result()
side_branch_fails()
skipped_result()
slow()
after_teardown()
