"""Replay: every server's recorded inputs through the same core again, offline."""
