# Needs: the study's prompt source, if that is a file. Gives: prompts.parquet, train and held-out.


rule make_prompts:
    """Draw the prompts and split them, before anything else is made."""
    input:
        source=prompt_source(),
    output:
        prompts="results/{study}/prompts.parquet",
    log:
        "results/{study}/logs/prompts.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("rollouts.prompts"),
        python=main_python,
    message:
        "Making prompts"
    shell:
        "{params.python:q} -m repurpose.rollouts.prompts"
        " --settings {params.settings:q}"
        " --output {output.prompts:q}"
        " 2>&1 | tee {log:q} >&2"


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
        settings=settings_of("rollouts.sampling", "shard"),
        python=rollouts_python,
        check=check_of_annotators,
        models=check_of_models,
    message:
        "Sampling rollouts, shard {wildcards.shard}"
    shell:
        "({params.check} {params.models} {params.python:q} -m repurpose.rollouts.sampling"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --output {output.rollouts:q})"
        " 2>&1 | tee {log:q} >&2"


# Needs: rollouts/<shard>.parquet. Gives: sentences/<shard>.parquet, spans without labels.


rule split_sentences:
    """Cut one shard of rollouts into sentences."""
    input:
        rollouts="results/{study}/rollouts/{shard}.parquet",
    output:
        sentences="results/{study}/sentences/{shard}.parquet",
    log:
        "results/{study}/logs/sentences/{shard}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("rollouts.sentences"),
        python=main_python,
    message:
        "Cutting sentences, shard {wildcards.shard}"
    shell:
        "{params.python:q} -m repurpose.rollouts.sentences"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.sentences:q}"
        " 2>&1 | tee {log:q} >&2"
