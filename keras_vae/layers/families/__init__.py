"""The families of likelihoods: a file each, with the distribution and the layer that gives it."""
