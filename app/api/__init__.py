"""The HTTP API: errors, dependencies, content negotiation and routes."""
