"""The implementation of commands that need no service."""
