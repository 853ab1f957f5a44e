"""gRPC and protobuf, and nothing else of the gateway, live here."""
