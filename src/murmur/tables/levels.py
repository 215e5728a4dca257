"""The levels at which predictions are made and scored."""

LEVELS = ("segment", "recording", "patient")
