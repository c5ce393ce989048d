"""What clients do while a run goes on."""
