"""Bounds on log p(x): the ELBO, and those that are a function of the importance weights."""
