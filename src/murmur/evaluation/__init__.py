"""Evaluation of the test predictions: levels, metrics, intervals and plot data."""
