"""A gRPC gateway in front of Apache Airflow."""
