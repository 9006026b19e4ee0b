"""What a command line needs: arguments, streams, signals, processes, tables."""
