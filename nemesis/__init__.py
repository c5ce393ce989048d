"""What goes wrong: faults as data, schedules of faults, and the injector that carries them out on a host."""
