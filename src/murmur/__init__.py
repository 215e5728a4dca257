"""Reproducible heart-murmur classification from phonocardiograms."""
