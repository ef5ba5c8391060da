"""Amazon DynamoDB as a target."""
