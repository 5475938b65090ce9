"""Objectives that ask for latents that are independent over the data."""
