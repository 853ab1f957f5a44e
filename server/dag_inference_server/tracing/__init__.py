"""Traces: what becomes of a call, for OpenTelemetry. Needs the extra `otel`."""
