"""Pure functions from MongoDB documents to the records of one store; no client library is imported here."""
