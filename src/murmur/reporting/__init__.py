"""Model and data cards, the HTML report, and pictures of spectrograms."""
