"""Steered rollouts: conditions, sweeps, the choice of a site, and what is measured on the text."""
