"""Prompts, what the generator answers, and its sentences."""
