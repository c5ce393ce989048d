"""Tests; time is judged in tests/benchmarks alone, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("onethrone", deadline=None)
settings.load_profile("onethrone")
