"""Objectives that compare all draws of a batch with the prior, by a kernel."""
