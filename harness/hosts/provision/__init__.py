"""The seam between the harness and whoever makes hosts: `base` says what a provisioner is, `registry` finds one."""
