"""Training data: MNIST and its relatives, digits printed from fonts, and images of users."""
