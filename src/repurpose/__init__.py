"""repurpose: steering vectors in reasoning models, from rollouts to verdicts."""

__version__ = "0.1.0"
