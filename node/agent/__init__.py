"""The process around the core: sockets, timers, files."""
