"""The comparison of two records, field by field."""
