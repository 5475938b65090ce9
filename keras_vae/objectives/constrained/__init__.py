"""The ELBO with a KL or a reconstruction that is held at a level."""
