"""Networks, and tables, that map an observation to action values."""
