"""Colours of heart cycles in all pictures, distinct also in grey and for colour-blind readers."""

STATE_COLOURS = {"S1": "#08306b", "systole": "#c6dbef", "S2": "#6b93c4", "diastole": "#f0f0f0"}
MURMUR_COLOUR = "#b3261e"
