"""A lab: hosts made of namespaces on this machine, each with a real sshd.

    with Lab.up(5) as lab:
        subprocess.run(["ssh", "-F", lab.ssh_config, "n1", "hostname"])

A host `n3` has its own network (eth0, 10.42.0.3/24), processes, hostname, /tmp, /run, /root, /home, /var/log and
/var/lib/onethrone (on disk, below the lab's directory); the rest of this machine's file system it sees read-only.
Its clock and its kernel are this machine's.  Nothing listens on this machine: `ssh` starts an sshd inside the host for
each connection (ProxyCommand), so the control path is not cut when the host's eth0 is.

An ephemeral lab ends with the process that made it, even when that is killed.  A standing one
(`onethrone lab up`) lives until `onethrone lab down`.  `warden.py` says how, and why nothing is left behind.
"""

from harness.lab.lab import Lab, running

__all__ = ["Lab", "running"]
