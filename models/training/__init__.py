"""The training loop: iterations, losses, optimizers, recipes, and the state that a run resumes from."""
