"""What x is and must be: its parts, what each likelihood scores, what all must agree on, and a look at the data."""
