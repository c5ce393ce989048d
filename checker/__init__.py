"""What must hold: the history, one module per promise, and the verdict.

Start with `history` (the format), then `fitness` (the world at an instant, as the history knows it: who is fit, who
hears whom; `effects` are its sets of what faults do), then the promises, a module each: `unique_leader`, `convergence`,
`stepping_down`, `epochs`, `best_history`, `evidence`, `partial_connectivity`.  `verdict` puts them together.  Nothing
here reads anything but the history.
"""
