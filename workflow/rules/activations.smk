# Needs: one shard of rollouts and sentences, the reader. Gives: activations/<reader>/<shard>.parquet.


rule read_activations:
    """Read one model's mean activation in each window before each sentence of a shard."""
    input:
        rollouts="results/{study}/rollouts/{shard}.parquet",
        sentences="results/{study}/sentences/{shard}.parquet",
        model=reader_model,
    output:
        activations="results/{study}/activations/{reader}/{shard}.parquet",
    log:
        "results/{study}/logs/activations/{reader}/{shard}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY,
        runtime=MODEL_RUNTIME,
        gpu=MODEL_GPUS,
    params:
        settings=settings_of("activations", "reader"),
        python=main_python,
    message:
        "Reading activations of the {wildcards.reader} model, shard {wildcards.shard}"
    shell:
        "{params.python:q} -m repurpose.activations"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --sentences {input.sentences:q}"
        " --output {output.activations:q}"
        " 2>&1 | tee {log:q} >&2"
