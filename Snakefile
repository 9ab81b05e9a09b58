# The study of config.yaml, or of --configfile, from prompts to verdicts. Each rule file is one room of the package, src/repurpose/<room>:
#
#   prompts -> rollouts -> sentences -> labels, activations -> vectors -> sweeps -> measurements -> tables -> figures
#                                                                                                  -> claims
#                                                                                                  -> report, explorer

from snakemake.utils import min_version

min_version("9.27.1")


include: "workflow/rules/common.smk"
include: "workflow/rules/rollouts.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/directions.smk"
include: "workflow/rules/steering.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/organism.smk"


report: "workflow/report/study.rst"


onstart:
    with one_line():
        PYTHON.check()


onerror:
    tell_failures(log)


rule all:
    """Everything that the study shows."""
    default_target: True
    input:
        FILES.final,
