# Needs: all shards of labels and of one reader's activations. Gives: vectors/<reader>.parquet, with controls.


rule compute_vectors:
    """Take the differences of means of one reader, and the control directions."""
    input:
        labels=run_labels,
        activations=reader_activations,
    output:
        vectors="results/{run}/vectors/{reader}.parquet",
    log:
        "results/{run}/logs/vectors/{reader}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("vectors", "reader"),
        python=main_python,
    message:
        "Computing vectors from the {wildcards.reader} model"
    shell:
        "{params.python:q} -m repurpose.vectors"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --activations {input.activations:q}"
        " --output {output.vectors:q}"
        " 2>&1 | tee {log:q} >&2"
