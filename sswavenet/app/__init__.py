"""A page in the browser: drop a song, listen to its stems, take them along."""
