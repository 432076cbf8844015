"""Second moments of a base's inputs: from texts to a covariance file."""
