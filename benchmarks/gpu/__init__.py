"""All measurements that need a GPU, in one command: `python -m benchmarks.gpu`. README.md explains it."""
