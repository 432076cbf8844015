"""lm-evaluation-harness beside a walk: what a point can still do, next to what it does wrong.

`arguments` writes the commands that evaluate the base and every exported point, `results` reads the
files that they leave, `samples` pairs documents, and `capability` says what became of each task.
Read in lm-eval 0.4.13; nothing of it is imported.
"""
