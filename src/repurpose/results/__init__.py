"""What a reader sees: tables, claims, figures, report, explorer."""
