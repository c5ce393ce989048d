"""A run while it goes on: `scene` is what its history shows, `follow` reads the history as it grows, `screen` draws it
in a terminal.  All of it reads; nothing that a watcher does, or fails to do, reaches the run."""
