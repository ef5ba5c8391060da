"""Plans, stores and state brought together: how a route is opened and made ready."""
