"""What serves the jobs that Snakemake plans and runs; the Snakefile and its rules alone import it."""
