"""Beyond one machine: mixtures in stores, and actors on a cluster."""
