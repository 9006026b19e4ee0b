"""What `--mode training` runs."""
