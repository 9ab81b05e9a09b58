"""The figures, each drawn from its one table; run as `python -m repurpose.results.figures`. No model."""
