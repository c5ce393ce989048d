"""An election server: ZooKeeper's leader election and epoch protocol as a pure core, and the TCP agent around it.

Standard library only, Python 3.9 and later: this folder is what lands on a host.
"""
