"""The levels of units that are predicted and scored."""

LEVELS = ("segment", "recording", "patient")
