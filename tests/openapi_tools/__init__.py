"""The OpenAPI document for programs of other projects: linters, and generators of clients."""
