"""The report of a run: one HTML file that somebody reads in the morning, offline.

`write_report` reads the history once (`build`), renders `page.html` with what it found (`page`), and puts styles,
script and data into the same file.  The page asks the network for nothing, and says so to the browser in its content
security policy: only the blocks with our own hashes may run or style, so text that came from a host stays text even if
a place were forgotten that ought to escape it.
"""

from harness.report.page import write_report

__all__ = ["write_report"]
