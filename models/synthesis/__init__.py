"""Generated data sets: files of digits in MNIST's format."""
