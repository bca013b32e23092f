"""Plots and tables from what runs left on disk; never imports TensorFlow."""
