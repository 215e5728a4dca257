"""Recipes, and comparisons between experiments."""
