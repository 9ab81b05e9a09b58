"""Study files that a call of Snakemake names, read before Snakemake reads them, so that each fault is one line of ours.

Snakemake loads the files of --configfile before any Snakefile: it names neither file nor line, may take minutes for
one that repeats itself, and runs what stands in a template. The profiles of this workflow call `check_named`, because
they are read earlier still. Standard library and yaml only.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from repurpose.study.messages import SettingsError
from repurpose.study.plain_yaml import read_study_file


def check_named(arguments: Sequence[str]) -> None:
    """End with one line where a file of --configfile cannot be a study; of other arguments nothing is taken."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", type=Path, default=[])
    try:
        for file in parser.parse_known_args(arguments)[0].configfile:
            read_study_file(file)
    except SettingsError as problem:
        sys.exit(str(problem))
