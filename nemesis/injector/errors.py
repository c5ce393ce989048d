"""What the injector says when it does not do as it was asked."""

from __future__ import annotations


class Refused(Exception):
    """The request cannot be carried out; the message says why and what to do.  Nothing of it is in force."""


class Unsure(Refused):
    """The request was not carried out, and it did not show either that nothing of it is in force."""
