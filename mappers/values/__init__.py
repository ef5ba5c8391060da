"""One value: its text, its JSON, its tags, the names and keys made of it."""
