"""Networks read from and written for Keras and ONNX."""
