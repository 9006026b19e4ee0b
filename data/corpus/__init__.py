"""The parts of the maker of the procedural corpus (`make_corpus.py`)."""
