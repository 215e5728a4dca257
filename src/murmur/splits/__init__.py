"""Cross-validation folds, their leak audit, and published splits."""
