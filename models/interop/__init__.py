"""Networks read from files of Keras, and written for Keras, ONNX and Hugging Face."""
