"""Features: from recordings to segments, mel spectrograms and embeddings."""
