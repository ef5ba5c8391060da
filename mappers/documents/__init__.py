"""Documents: decoding, fields, and irregular values."""
