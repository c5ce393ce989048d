"""Tests; time is judged in tests/benchmarks alone, so no example has a deadline."""

import signal

from hypothesis import settings

settings.register_profile("onethrone", deadline=None)
settings.load_profile("onethrone")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and what we start would inherit it and be deaf to the Ctrl-C of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
