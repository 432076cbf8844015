"""Level and power of every rung of the ladder, and coverage of every interval, by simulation."""
