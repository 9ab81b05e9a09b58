"""How data is kept: schemas, files, journals, statistics, the command line of a step."""
