"""What a document holds: decoding, fields, and what is irregular."""
