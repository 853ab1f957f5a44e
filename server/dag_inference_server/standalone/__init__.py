"""A whole local Airflow for trying things: on an embedded PostgreSQL, in one folder."""
