"""Recordings: importing a data set, reading audio, and finding duplicates."""
