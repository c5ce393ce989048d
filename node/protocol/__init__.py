"""The protocol core: `(now, event)` in, ordered effects out.  No socket, thread, clock or randomness.

The files, in the order in which to read them:

    messages, events         what servers say to each other; what the core is told, and what it asks for
    votes, quorums           the order of votes; which sets of servers are a quorum
    database                 a server's history: snapshot, log and tree
    core                     what every layer of a server stands on
    connections, election    who dials whom; who is to lead
    transactions             what learner and leader both do with transactions
    following                a learner, from its leader's first packet to the last
    leadership, leading      from a won election to an established leader; what it does then
    broadcast                a leader's transactions, from a request to the commit
    server                   all layers together: `start` and `step`
    states, describe         the states and transitions as data; everything in words
"""
