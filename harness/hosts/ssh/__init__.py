"""The connection to a host: OpenSSH's configuration, paramiko's transport."""
