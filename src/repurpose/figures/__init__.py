"""The figures, each drawn from its one table; run as `python -m repurpose.figures`. No model."""
