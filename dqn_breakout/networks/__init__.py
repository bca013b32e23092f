"""Networks that map a stacked observation to action values."""
