"""What adapters hold: facts from headers, sizes and spectra from weights, and what looks wrong."""
