"""The controller: hosts, systems under test, a run from its plan to its report, and the command line."""
