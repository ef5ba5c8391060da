"""What a plan may do to a document before it is mapped."""
