# Directions: activations of both readers, the vectors from them, and what the vectors are like.
#
# Needs: rollouts, sentences and labels of all shards, labelled, both models, files of vectors from outside; after the
# first two rules also selection.json.
# Gives: activations/<reader>/<shard>.parquet; vectors/<reader>.parquet, with controls; where a sweep names them also
# vectors/variants.parquet, the vector with something projected out; cosines.parquet, how alike the
# two readers' vectors are; lens.parquet (Fig. 5); projections/<reader>.parquet, one row a token (Fig. 6); on demand
# exported/, vectors for others to use.


rule read_activations:
    """Read one model's mean activation in each window before each sentence of a shard."""
    input:
        rollouts="results/{study}/rollouts/{shard}.parquet",
        sentences="results/{study}/sentences/{shard}.parquet",
        # Labels of which none is of the study's behaviour end a study: not before then is a model's time spent on
        # reading. They change no activation, so the file bears no annotator's name and no new one counts.
        labelled=ancient("results/{study}/labelled"),
        model=lambda wildcards: model_files(wildcards.reader),
    output:
        activations="results/{study}/activations/{reader}/{shard}.parquet",
    log:
        "results/{study}/logs/activations/{reader}/{shard}.log",
    benchmark:
        "results/{study}/benchmarks/read_activations/{reader}/{shard}.tsv"
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("directions.activations", "reader"),
        models=digests_of("reader"),
        batch=derived(STUDY.activations.batch_tokens),
        python=derived(PYTHON.python("main")),
    message:
        "Reading activations of the {wildcards.reader} model, shard {wildcards.shard}"
    shell:
        "{params.python:q} -m repurpose.directions.activations"
        " --settings {params.settings:q}"
        " --batch {params.batch}"
        " --rollouts {input.rollouts:q}"
        " --sentences {input.sentences:q}"
        " --output {output.activations:q}"
        " 2>&1 | log_to {log:q}"


rule compute_vectors:
    """Take the differences of means of one reader, the control directions and the vectors from outside."""
    input:
        labels=FILES.run_labels,
        activations=lambda wildcards: FILES.parts(f"activations/{wildcards.reader}"),
        outside=FILES.outside_vectors,
    output:
        vectors="results/{run}/vectors/{reader}.parquet",
    log:
        "results/{run}/logs/vectors/{reader}.log",
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings_of("directions.vectors", "reader"),
        python=derived(PYTHON.python("main")),
    message:
        "Computing vectors from the {wildcards.reader} model"
    shell:
        "{params.python:q} -m repurpose.directions.vectors"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --activations {input.activations:q}"
        " --output {output.vectors:q}"
        " 2>&1 | log_to {log:q}"


rule project_out:
    """Project what might explain its effect out of the vector: the keywords' unembedding, uncertainty-estimation."""
    input:
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        models=[*model_files("base"), *model_files("reasoning")],
    output:
        variants="results/{run}/vectors/variants.parquet",
    log:
        "results/{run}/logs/vectors/variants.log",
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        settings=settings_of("directions.variants"),
        models=digests_of("base", "reasoning", words=["base", "reasoning"]),
        python=derived(PYTHON.python("main")),
    message:
        "Projecting keywords and uncertainty out of the vector"
    shell:
        "{params.python:q} -m repurpose.directions.variants"
        " --settings {params.settings:q}"
        " --vectors {input.vectors:q}"
        " --output {output.variants:q}"
        " 2>&1 | log_to {log:q}"


rule export_vectors:
    """Write the selected vectors out with a passport, as safetensors and GGUF; part of no report, made when asked for."""
    input:
        vectors=of_both(f"results/{STUDY.study}/vectors/{{reader}}.parquet"),
        selection=f"results/{STUDY.study}/selection.json",
    output:
        exported=directory(f"results/{STUDY.study}/exported"),
    log:
        f"results/{STUDY.study}/logs/exported.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=settings_of("directions.export"),
        python=derived(PYTHON.python("main")),
    message:
        "Exporting the selected vectors"
    shell:
        "{params.python:q} -m repurpose.directions.export"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.exported:q}"
        " 2>&1 | log_to {log:q}"


rule compare_readers:
    """Take the cosines between the readers' vectors at the selected site, no noise shared."""
    input:
        labels=FILES.run_labels,
        base=FILES.parts("activations/base"),
        reasoning=FILES.parts("activations/reasoning"),
        selection="results/{run}/selection.json",
    output:
        cosines="results/{run}/cosines.parquet",
    log:
        "results/{run}/logs/cosines.log",
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        settings=settings_of("directions.cosines"),
        python=derived(PYTHON.python("main")),
    message:
        "Comparing the readers' vectors"
    shell:
        "{params.python:q} -m repurpose.directions.cosines"
        " --settings {params.settings:q}"
        " --labels {input.labels:q}"
        " --base {input.base:q}"
        " --reasoning {input.reasoning:q}"
        " --selection {input.selection:q}"
        " --output {output.cosines:q}"
        " 2>&1 | log_to {log:q}"


rule apply_lens:
    """Decode the directions with both models' unembeddings (Fig. 5)."""
    input:
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        models=[*model_files("base"), *model_files("reasoning")],
    output:
        lens="results/{run}/lens.parquet",
    log:
        "results/{run}/logs/lens.log",
    benchmark:
        "results/{run}/benchmarks/apply_lens.tsv"
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("directions.lens"),
        models=digests_of("base", "reasoning", words=["reasoning"]),
        python=derived(PYTHON.python("main")),
    message:
        "Decoding the directions"
    shell:
        "{params.python:q} -m repurpose.directions.lens"
        " --settings {params.settings:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.lens:q}"
        " 2>&1 | log_to {log:q}"


rule project_tokens:
    """Project one reader's activation at each token on the direction."""
    input:
        rollouts=FILES.parts("rollouts"),
        labels=FILES.run_labels,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=lambda wildcards: model_files(wildcards.reader),
    output:
        projections="results/{run}/projections/{reader}.parquet",
    log:
        "results/{run}/logs/projections/{reader}.log",
    benchmark:
        "results/{run}/benchmarks/project_tokens/{reader}.tsv"
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("directions.projections", "reader"),
        models=digests_of("reader"),
        python=derived(PYTHON.python("main")),
    message:
        "Projecting the {wildcards.reader} model's tokens"
    shell:
        "{params.python:q} -m repurpose.directions.projections"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.projections:q}"
        " 2>&1 | log_to {log:q}"


rule trace_rollouts:
    """Project one reader's activation at each token on every direction, for the explorer."""
    input:
        rollouts=FILES.parts("rollouts"),
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=lambda wildcards: model_files(wildcards.reader),
    output:
        traces="results/{run}/traces/{reader}.parquet",
    log:
        "results/{run}/logs/traces/{reader}.log",
    benchmark:
        "results/{run}/benchmarks/trace_rollouts/{reader}.tsv"
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("directions.traces", "reader"),
        models=digests_of("reader"),
        python=derived(PYTHON.python("main")),
    message:
        "Projecting the {wildcards.reader} model's tokens on every direction"
    shell:
        "{params.python:q} -m repurpose.directions.traces"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.traces:q}"
        " 2>&1 | log_to {log:q}"
