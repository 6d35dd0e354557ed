"""A DAG whose two tasks run in two pools of the fleet: `queue` is Airflow's own argument."""

from airflow.sdk import dag, task


@dag
def hello():
    @task
    def name():
        return "Ada"

    @task(queue="gpu")
    def greet(whom):
        print(f"Hello {whom}")

    greet(name())


hello()
