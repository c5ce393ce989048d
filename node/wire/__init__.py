"""The bytes: jute, ZooKeeper's packets, and the frames of the election and quorum ports."""
