"""Apache ZooKeeper 3.8 as the system under test, and what servers like it have in common."""
