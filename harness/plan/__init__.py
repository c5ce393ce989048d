"""A run's plan: its schema, its file format, its checks."""
