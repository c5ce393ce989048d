"""Who makes hosts."""
