"""Named groups of adapters: within and between, split by shared initialisation and by task."""
