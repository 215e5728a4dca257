"""Training of the networks of a cross-validation run."""
