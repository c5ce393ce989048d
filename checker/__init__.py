"""What must hold: the history, one module per promise, and the verdict.

Start with `history` (the format), then `world` (who can do what to whom at an instant, as the history knows it), then
the promises, a module each: `unique_leader`, `convergence`, `stepping_down`, `epochs`, `best_history`, `evidence`,
`partial_connectivity`.  `verdict` puts them together.  Nothing here reads anything but the history.
"""
