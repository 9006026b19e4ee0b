"""The tracks of a data set: decoded, kept, checked."""
