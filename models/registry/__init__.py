"""Checkpoints: manifests, the store, which one is served, retention."""
