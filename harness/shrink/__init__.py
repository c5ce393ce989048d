"""Shrinking: the smallest schedule that still breaks the same promise, in the simulator."""
