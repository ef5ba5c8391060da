"""What verification found wrong, or a reject, is copied again."""
