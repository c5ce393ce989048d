"""The results in a browser: `onethrone serve`.

    /               the runs and campaigns, to sort, filter and search
    /r/<path>       what lies at that path below the results: a folder's page, or a file
    /live/<path>    a run that is going on; /live/ leads to the one that `results/current` names
    /static/<name>  styles, scripts

The model.  `tree` is the only way to the disk: it gives out what lies below the results folder, and nothing else.
`catalogue` knows every run and campaign, and reads again only what has changed.  `watching` follows the histories of
runs that somebody looks at.  `pages` makes HTML of it, and `server` answers requests within bounds.

The rules:

1.  Everything in the results folder may have come from a host that means ill.  Text is escaped, files are plain text or
    downloads; only a report, in a run's or campaign's own folder, is HTML, in a sandbox without an origin.
2.  It only reads: GET and HEAD, nothing in the results is ever changed.
3.  It answers only to names that can be this machine's: a page from elsewhere that renames itself to 127.0.0.1 (DNS
    rebinding) is refused by its Host header.
4.  Connections, threads, a request's size and its time are bounded; a slow client costs one thread, for seconds.
"""
