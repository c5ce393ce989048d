"""The injector: the program that carries faults out on a host.  Standard library only, Python 3.9 and later.

The model.  One resident process per host, started through SSH and living in its own session and folder, so that it
survives the SSH channel.  The controller talks to it through a relay (`attach`), which joins an SSH channel to the
resident's Unix socket.  A guardian, a fork of the resident made before anything else, heals the host when the resident
itself is killed.

    controller ==SSH==> attach (relay) --Unix socket--> serve (resident) --pipe--> guardian
                                                           |-- nft -i
                                                           `-- the server under test

The protocol: one JSON object a line, both ways.

    -> {"id": 17, "do": "net", "fault": "f3", "links": {"10.42.0.2": {"drop": true}}, "at": 81230000000}
    <- {"id": 17, "ok": true, "verified": {...}, "began": 81230004100, "done": 81231200350, "heard": ..., "sent": ...}
    <- {"id": 18, "ok": false, "error": "what is wrong, and what to do"}
    <- {"event": "stopped", "seq": 4, "host_time": 81240000000, ...}
    <- {"stream": "events", "offset": 0, "next": 812, "lines": ["...", "..."]}

All times are nanoseconds of the host's CLOCK_MONOTONIC.  `began` and `done` stand around the deed and its verification;
`heard` and `sent` are when the line was read and the answer written, for the controller's clock mapping.

The rules:

1.  A request is answered once.  A repeated id gets the recorded answer, and the deed is not done again.
2.  `at` postpones the deed to that instant (at most a second ahead), so that all hosts begin together.
3.  An answer is "ok" only when what was asked for was read back: from the kernel's rules, from /proc, from the clock.
4.  Every line from the controller renews the lease.  When it runs out, every fault is undone (event `healed`); when it
    runs out once more, the servers are killed, everything is removed, and the resident exits.
5.  A host's rules are in one nftables table of ours.  No rule, queue or process of anybody else's is touched, and the
    control path (the peer and port of $SSH_CONNECTION) and loopback are always let through.
6.  Nothing is written outside the folder, and nothing is left: no table, queue, stopped process or shared memory.
"""

PROTOCOL = 1
TABLE = "onethrone"
