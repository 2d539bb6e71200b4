"""Quality metrics, the classifiers that compute them, and the quality gate."""
