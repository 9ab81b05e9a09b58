# Needs: all shards of labels and of both readers' activations, selection.json.
# Gives: cosines.parquet, how alike the two readers' vectors are on disjoint halves of the prompts.


rule compare_readers:
    """Take the cosines between the readers' vectors at the selected site, no noise shared."""
    input:
        labels=run_labels,
        base=activations_of("base"),
        reasoning=activations_of("reasoning"),
        selection="results/{run}/selection.json",
    output:
        cosines="results/{run}/cosines.parquet",
    log:
        "results/{run}/logs/cosines.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("cosines"),
        python=main_python,
    message:
        "Comparing the readers' vectors"
    shell:
        "{params.python:q} -m repurpose.cosines"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --base {input.base:q}"
        " --reasoning {input.reasoning:q}"
        " --selection {input.selection:q}"
        " --output {output.cosines:q}"
        " 2>&1 | tee {log:q} >&2"
