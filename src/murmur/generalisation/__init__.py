"""Trained models on other data sets and on disturbed recordings."""
