# Rollouts: prompts, the generator's answers to them, their sentences.
#
# Needs: the study's prompt source, if that is a file; the generator or, of published rollouts, its tokenizer.
# Gives: prompts.parquet, train and held-out; rollouts/<shard>.parquet; sentences/<shard>.parquet, places without labels
# (where the labelled units are annotated spans, labels.smk gives these).


localrules:
    make_prompts,
    split_sentences,


rule make_prompts:
    """Draw the prompts and split them, before anything else is made."""
    input:
        source=FILES.prompt_source,
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
        python=derived(PYTHON.python("main")),
    message:
        "Making prompts"
    shell:
        "{params.python:q} -m repurpose.rollouts.prompts"
        " --settings {params.settings:q}"
        " --output {output.prompts:q}"
        " 2>&1 | log_to {log:q}"


rule sample_rollouts:
    """Let the generator answer one shard of the prompts, or take its published answers from the file."""
    input:
        prompts="results/{study}/prompts.parquet",
        model=FILES.generator if STUDY.rollouts.file else model_files(STUDY.rollouts.generator),
    output:
        rollouts="results/{study}/rollouts/{shard}.parquet",
    log:
        "results/{study}/logs/rollouts/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/sample_rollouts/{shard}.tsv"
    retries: JOBS.retries
    conda:
        f"../../envs/{PYTHON.sampling}.yaml"
    threads: cpu_threads(JOBS.sampling_gpus)
    resources:
        mem_mb=growing(JOBS.sampling_memory),
        runtime=growing(JOBS.sampling_minutes),
        gpu=JOBS.sampling_gpus,
        api_calls=JOBS.sampling_calls,
    params:
        settings=settings_of("rollouts.sampling", "shard"),
        digests=digests_of(STUDY.rollouts.generator, words=[STUDY.rollouts.generator]),
        python=derived(PYTHON.python(PYTHON.sampling)),
        batch=derived(STUDY.rollouts.batch_size),
        check=derived(CHECKS.annotators()),
        models=derived(CHECKS.models(FILES.prompts)),
    message:
        "Sampling rollouts, shard {wildcards.shard}"
    shell:
        "({params.check} {params.models} {params.python:q} -m repurpose.rollouts.sampling"
        " --settings {params.settings:q}"
        " --batch {params.batch}"
        " --prompts {input.prompts:q}"
        " --output {output.rollouts:q})"
        " 2>&1 | log_to {log:q}"


rule split_sentences:
    """Cut one shard of rollouts into sentences."""
    input:
        rollouts="results/{study}/rollouts/{shard}.parquet",
    output:
        sentences="results/{study}/sentences/{shard}.parquet",
    log:
        "results/{study}/logs/sentences/{shard}.log",
    wildcard_constraints:
        study=one_of(FILES.units("sentence")),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("rollouts.sentences"),
        python=derived(PYTHON.python("main")),
    message:
        "Cutting sentences, shard {wildcards.shard}"
    shell:
        "{params.python:q} -m repurpose.rollouts.sentences"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.sentences:q}"
        " 2>&1 | log_to {log:q}"
