"""The OpenAPI document: what FastAPI does not know about the operations."""
