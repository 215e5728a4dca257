"""Trained models on external data and on disturbed recordings."""
