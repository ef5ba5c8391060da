"""Two records held against each other, field by field."""
