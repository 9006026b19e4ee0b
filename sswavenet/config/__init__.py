"""What a session is made of: its tasks, its keys, and config.json."""
