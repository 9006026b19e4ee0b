"""Pages to listen to stems with, in a browser and without a network."""
