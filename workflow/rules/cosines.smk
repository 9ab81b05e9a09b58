# Needs: all shards of sentences and of both readers' activations, selection.json.
# Gives: cosines.parquet, how alike the two readers' vectors are on disjoint halves of the prompts.


rule compare_readers:
    """Take the cosines between the readers' vectors at the selected site, no noise shared."""
    input:
        sentences=all_sentences(),
        base=activations_of("base"),
        reasoning=activations_of("reasoning"),
        selection="results/{study}/selection.json",
    output:
        cosines="results/{study}/cosines.parquet",
    log:
        "results/{study}/logs/cosines.log",
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
        " --sentences {input.sentences:q}"
        " --base {input.base:q}"
        " --reasoning {input.reasoning:q}"
        " --selection {input.selection:q}"
        " --output {output.cosines:q}"
        " 2>&1 | tee {log:q} >&2"
