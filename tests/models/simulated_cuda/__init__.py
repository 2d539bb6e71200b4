"""A CUDA device without memory, for machines without a GPU.

Tensors on it have real shapes, strides, dtypes and devices, but no values (torch's fake tensors). Code that reads a
value, mixes devices or lets a shape depend on data raises an error, as it would stop or slow a real GPU. `guard.cpp`
registers the device with torch: build it with `device.build_guard` and preload it into a new Python process, as
`test_simulated_cuda.py` does. `python -m tests.models.simulated_cuda CHECK ...` runs checks inside such a process.
"""
