"""The protocol core: `(now, event)` in, ordered effects out.  No socket, thread, clock or randomness."""
