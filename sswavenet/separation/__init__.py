"""What `--mode inference` runs: mixtures in, stems out."""
