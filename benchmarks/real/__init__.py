"""What is measured on a real Airflow."""
