"""The published similarity numbers beside what unrelated updates of one seed give."""
