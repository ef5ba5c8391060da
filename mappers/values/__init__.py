"""Values: their text, their JSON, their tags, and the names and keys made of them."""
