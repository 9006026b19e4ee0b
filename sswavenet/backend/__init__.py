"""What differs between backends, and compiled code."""
