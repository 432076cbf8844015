"""How much of each similarity is seed, task, harm and style, from a table of adapters."""
