"""Training data: MNIST and digits printed from fonts."""
