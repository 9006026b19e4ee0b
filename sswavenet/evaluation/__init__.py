"""What `--mode evaluation` runs: a session's scores on a data set."""
