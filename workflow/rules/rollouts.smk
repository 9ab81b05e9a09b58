# Needs: prompts.parquet, the generator. Gives: rollouts/<shard>.parquet, the answers that are read.


rule sample_rollouts:
    """Let the generator answer one shard of the prompts."""
    input:
        prompts="results/{study}/prompts.parquet",
        model=model_files(GENERATOR),
    output:
        rollouts="results/{study}/rollouts/{shard}.parquet",
    log:
        "results/{study}/logs/rollouts/{shard}.log",
    conda:
        ROLLOUTS_CONDA
    threads: 1
    resources:
        mem_mb=MODEL_MEMORY if SAMPLES_HERE else host_megabytes(0),
        runtime=MODEL_RUNTIME,
        gpu=ENGINE_GPUS if SAMPLES_HERE else 0,
    params:
        settings=settings_of("rollouts", "shard"),
        python=rollouts_python,
        check=check_of_annotators,
        models=check_of_models,
    message:
        "Sampling rollouts, shard {wildcards.shard}"
    shell:
        "({params.check} {params.models} {params.python:q} -m repurpose.rollouts"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --output {output.rollouts:q})"
        " 2>&1 | tee {log:q} >&2"
