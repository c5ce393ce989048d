"""Campaigns: run after run, on hosts and in the simulator side by side, and the report in the morning.

    plan.py       what a campaign is made of, as one TOML file
    deck.py       which run comes next: a function of the plan and a number
    journal.py    what was planned, begun, ended and counted; all that `--resume` needs
    tally.py      the journal, added up: counts, groups of failures, the verdict
    conduct.py    the controller: hands out runs, ends what hangs, keeps the disk from filling
    child.py      a process with deadlines
    work.py       what a child does: simulate seeds, judge a run, write the report
    outcome.py    what one run, or a batch of simulated ones, leaves to be counted
    coverage.py   what a history reached
    signature.py  when two failures are the same one
    morning.py    the morning report, summary.json and junit.xml

The controller stays small: whatever reads a history, simulates or renders does so in a child process, which may hang or
die without harm.
"""
