"""Runs in the formats of other people's tools; `docs/exporting.md` says what each makes of what."""
