"""Training of the networks of one cross-validation run."""
