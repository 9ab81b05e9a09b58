# Needs: rollouts/<shard>.parquet, the generator's tokenizer. Gives: sentences/<shard>.parquet, spans without labels.


rule split_sentences:
    """Cut one shard of rollouts into sentences."""
    input:
        rollouts="results/{study}/rollouts/{shard}.parquet",
        tokenizer=tokenizer_files(GENERATOR),
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
        settings=settings_of("sentences"),
        python=main_python,
    message:
        "Cutting sentences, shard {wildcards.shard}"
    shell:
        "{params.python:q} -m repurpose.sentences"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.sentences:q}"
        " 2>&1 | tee {log:q} >&2"
