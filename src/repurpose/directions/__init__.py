"""Activations, the vectors made of them, and what vectors look like before anything is steered."""
