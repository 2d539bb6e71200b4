"""What OpenAPI says of keys: which calls take them, and what is answered without."""

from typing import Any

from fastapi import FastAPI

from app.door import PROBES, READING

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as `acgan key NAME` printed it."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, in a header alone."},
}
WAYS: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
NO_KEY = {
    "description": "The service gives keys out, and this request came without one, or with an unknown one.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def describe_keys(app: FastAPI, needed: bool, for_reading: bool) -> None:
    """Describe them in the app's own document; as something one may do without where this service has none."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            document["components"]["securitySchemes"] = SCHEMES
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    if method.upper() not in READING or (for_reading and path not in PROBES):
                        operation["security"] = WAYS if needed else [{}, *WAYS]
                        operation["responses"]["401"] = NO_KEY
        return app.openapi_schema or {}

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to add to the document
