# The study of config.yaml, or of --configfile, from prompts to verdicts. Each rule file is one arrow of
#
#   prompts -> rollouts -> sentences -> labels, activations -> vectors -> sweeps -> measurements -> tables -> figures
#                                                                                                  -> claims
#                                                                                                  -> report

from snakemake.utils import min_version

min_version("9.27.1")

# A study file stands alone: it is never merged into the default one.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/parity.smk"
include: "workflow/rules/rollouts.smk"
include: "workflow/rules/sentences.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/agreement.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/vectors.smk"
include: "workflow/rules/sweeps.smk"
include: "workflow/rules/measurements.smk"
include: "workflow/rules/selection.smk"
include: "workflow/rules/cosines.smk"
include: "workflow/rules/logodds.smk"
include: "workflow/rules/lens.smk"
include: "workflow/rules/projections.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/organism.smk"


report: "workflow/report/study.rst"


onstart:
    hold_run_lock()
    check_environment()


rule all:
    """Everything that the study shows."""
    default_target: True
    input:
        final_files(),
