"""The kinds of fault, one file each.  `nemesis.faults` registers them; `docs/writing-a-fault.md` adds one."""
