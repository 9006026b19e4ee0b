"""Music source separation with a Wavenet."""
