"""The local page of `murmur serve`: predictions for recordings in a browser."""
