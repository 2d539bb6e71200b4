"""The iteration on a GPU: the same mathematics in fewer kernels."""
