"""Keys, roles, origins, hosts and rate limits."""
