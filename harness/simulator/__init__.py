"""Whole ensembles of the very core that the agent runs, in a world with its own time, network and disks.

    knobs      how harsh the world of a seed is: each seed turns its own knobs, some of them to zero
    world      time, servers as processes on hosts, their clocks, timers and disks
    network    connections as TCP has them: in order, stalled, cut in the middle, half open
    nemesis    the schedule's faults, carried out in the world: the second interpreter beside the injectors
    clients    what the workload does, without sockets
    run        one run from its start to its verdict, and its folder
    campaign   many seeds on many cores
    worker     a process of a pool that runs them
    command    `onethrone simulate`

The rule of all: a run is a function of (seed, schedule, servers, bug, settings).  Time is an integer of nanoseconds,
events of one instant happen in the order in which they were asked for, and nothing depends on a hash or an address.
"""
