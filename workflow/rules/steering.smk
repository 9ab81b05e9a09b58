# Steering: sweeps over the prompts, what is measured on them, the site and magnitude that are chosen.
#
# Needs: prompts.parquet, vectors of both readers, the targets, rollouts; for log-odds and the permutation test also
# labels, of steered text those of language models.
# Gives: sweeps/<sweep>/<target>.parquet, steered rollouts, one job for a whole grid on one target, or as many as the
# sweep has `shards`, merged from their <target>-<part>.parquet;
# likelihoods/<sweep>/<target>.parquet, how likely its text is to the target, unsteered;
# measurements/<sweep>/<target>.parquet, a column per metric; selection.json; permutations.parquet and of it
# vectors/rivals.parquet, which sweeps may name; logodds/<target>.parquet. Where the study's engine is vLLM also
# parity/<target>.json: where that is made anew, the sweeps behind it are planned, too; what their journals hold is not
# computed twice.


localrules:
    merge_sweep,
    select_site,


# A part of a sweep that several jobs make is made by the rule that steers, the whole of it is not.
ruleorder: merge_sweep > steer_to_select
ruleorder: merge_sweep > steer


rule check_parity:
    """Prove that vLLM steers one target as the transformers engine does."""
    input:
        prompts=FILES.prompts,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        model=lambda wildcards: model_files(wildcards.target),
    output:
        parity="results/{run}/parity/{target}.json",
    log:
        "results/{run}/logs/parity/{target}.log",
    benchmark:
        "results/{run}/benchmarks/check_parity/{target}.tsv"
    retries: JOBS.retries
    conda:
        f"../../envs/{PYTHON.steering}.yaml"
    threads: cpu_threads(JOBS.engine_gpus)
    resources:
        mem_mb=growing(2 * JOBS.memory),  # both engines may hold float32 weights
        runtime=growing(JOBS.minutes),
        gpu=JOBS.engine_gpus,
    params:
        settings=settings_of("steering.check_parity", "target"),
        models=digests_of("target", words=["target", "reasoning"]),
        python=derived(PYTHON.python("vllm")),
    message:
        "Comparing vLLM with transformers, the {wildcards.target} model steered"
    shell:
        "{params.python:q} -m repurpose.steering.check_parity"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q}"
        " --output {output.parity:q}"
        " 2>&1 | log_to {log:q}"


rule steer_to_select:
    """Run the sweep on training prompts from which site and magnitude are chosen."""
    input:
        prompts=FILES.prompts,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        extra=FILES.extra_vectors,
        model=lambda wildcards: model_files(wildcards.target),
        parity=FILES.parity,
    output:
        sweep="results/{run}/sweeps/{sweep}/{target}{part}.parquet",
    log:
        "results/{run}/logs/sweeps/{sweep}/{target}{part}.log",
    benchmark:
        "results/{run}/benchmarks/steer_to_select/{sweep}/{target}{part}.tsv"
    wildcard_constraints:
        sweep=STUDY.selection.sweep,
    retries: JOBS.retries
    conda:
        f"../../envs/{PYTHON.steering}.yaml"
    threads: JOBS.selection_threads
    resources:
        mem_mb=lambda wildcards, attempt: attempt * JOBS.sweep_memory[wildcards.sweep],
        runtime=lambda wildcards, attempt: attempt * JOBS.sweep_minutes[wildcards.sweep],
        gpu=JOBS.engine_gpus,
    params:
        settings=settings_of("steering.sweeps", "sweep", "target"),
        part=FILES.sweep_part,
        models=digests_of("target", words=["target", "reasoning"]),
        batch=lambda wildcards, output: STUDY.sweeps[wildcards.sweep].batch_size,
        python=derived(PYTHON.python(PYTHON.steering)),
    message:
        "Steering the {wildcards.target} model, sweep {wildcards.sweep}{wildcards.part}"
    shell:
        "{params.python:q} -m repurpose.steering.sweeps"
        " --settings {params.settings:q}"
        " --batch {params.batch} {params.part}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q} {input.extra:q}"
        " --output {output.sweep:q}"
        " 2>&1 | log_to {log:q}"


rule steer:
    """Run one sweep on one target, at the selected site where the study says so."""
    input:
        prompts=FILES.prompts,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        extra=FILES.extra_vectors,
        selection="results/{run}/selection.json",
        model=lambda wildcards: model_files(wildcards.target),
        parity=FILES.parity,
    output:
        sweep="results/{run}/sweeps/{sweep}/{target}{part}.parquet",
    log:
        "results/{run}/logs/sweeps/{sweep}/{target}{part}.log",
    benchmark:
        "results/{run}/benchmarks/steer/{sweep}/{target}{part}.tsv"
    wildcard_constraints:
        sweep=one_of(name for name in STUDY.sweeps if name != STUDY.selection.sweep),
    priority: 10  # the longest jobs first, so that the short ones fill what is left
    retries: JOBS.retries
    conda:
        f"../../envs/{PYTHON.steering}.yaml"
    threads: cpu_threads(JOBS.engine_gpus)
    resources:
        mem_mb=lambda wildcards, attempt: attempt * JOBS.sweep_memory[wildcards.sweep],
        runtime=lambda wildcards, attempt: attempt * JOBS.sweep_minutes[wildcards.sweep],
        gpu=JOBS.engine_gpus,
    params:
        settings=settings_of("steering.sweeps", "sweep", "target"),
        part=FILES.sweep_part,
        models=digests_of("target", words=["target", "reasoning"]),
        batch=lambda wildcards, output: STUDY.sweeps[wildcards.sweep].batch_size,
        python=derived(PYTHON.python(PYTHON.steering)),
    message:
        "Steering the {wildcards.target} model, sweep {wildcards.sweep}{wildcards.part}"
    shell:
        "{params.python:q} -m repurpose.steering.sweeps"
        " --settings {params.settings:q}"
        " --batch {params.batch} {params.part}"
        " --prompts {input.prompts:q}"
        " --vectors {input.vectors:q} {input.extra:q}"
        " --selection {input.selection:q}"
        " --output {output.sweep:q}"
        " 2>&1 | log_to {log:q}"


rule merge_sweep:
    """Merge the parts of a sweep that several jobs made."""
    input:
        parts=FILES.sweep_parts,
    output:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
    log:
        "results/{run}/logs/sweeps/{sweep}/{target}.log",
    wildcard_constraints:
        sweep=one_of(FILES.sharded_sweeps),
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings_of("steering.merge_sweep", "sweep", "target"),
        python=derived(PYTHON.python("main")),
    message:
        "Merging the parts of sweep {wildcards.sweep} on the {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.steering.merge_sweep"
        " --settings {params.settings:q}"
        " --parts {input.parts:q}"
        " --output {output.sweep:q}"
        " 2>&1 | log_to {log:q}"


rule score_text:
    """Read steered text with its target, unsteered: how likely is it there?"""
    input:
        prompts=FILES.prompts,
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
        model=lambda wildcards: model_files(wildcards.target),
    output:
        likelihoods="results/{run}/likelihoods/{sweep}/{target}.parquet",
    log:
        "results/{run}/logs/likelihoods/{sweep}/{target}.log",
    benchmark:
        "results/{run}/benchmarks/score_text/{sweep}/{target}.tsv"
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("steering.likelihood", "target"),
        models=digests_of("target", words=["target", "reasoning"]),
        python=derived(PYTHON.python("main")),
    message:
        "Reading the likelihood of sweep {wildcards.sweep} on the {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.steering.likelihood"
        " --settings {params.settings:q}"
        " --prompts {input.prompts:q}"
        " --sweep {input.sweep:q}"
        " --output {output.likelihoods:q}"
        " 2>&1 | log_to {log:q}"


rule measure_sweep:
    """Measure each steered rollout: keyword share, sentences by their label, coherence, length, correctness."""
    input:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
        likelihoods="results/{run}/likelihoods/{sweep}/{target}.parquet",
        labels=FILES.sweep_labels,
        rollouts=FILES.parts("rollouts"),
    output:
        measurements="results/{run}/measurements/{sweep}/{target}.parquet",
    log:
        "results/{run}/logs/measurements/{sweep}/{target}.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_by_labeller("steering.measurements"),
        python=derived(PYTHON.python("main")),
    message:
        "Measuring sweep {wildcards.sweep} on the {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.steering.measurements"
        " --settings {params.settings:q}"
        " --sweep {input.sweep:q}"
        " --likelihoods {input.likelihoods:q}"
        " --labels {input.labels:q}"
        " --rollouts {input.rollouts:q}"
        " --output {output.measurements:q}"
        " 2>&1 | log_to {log:q}"


rule select_site:
    """Choose layer, window and magnitude on training prompts."""
    input:
        measurements=f"results/{{run}}/measurements/{STUDY.selection.sweep}/reasoning.parquet",
    output:
        selection="results/{run}/selection.json",
    log:
        "results/{run}/logs/selection.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("steering.selection"),
        python=derived(PYTHON.python("main")),
    message:
        "Selecting layer, window and magnitude"
    shell:
        "{params.python:q} -m repurpose.steering.selection"
        " --settings {params.settings:q}"
        " --measurements {input.measurements:q}"
        " --output {output.selection:q}"
        " 2>&1 | log_to {log:q}"


rule permute_labels:
    """Hold the vector against many directions that mean nothing, by log-odds; keep the strongest of them as rivals."""
    input:
        rollouts=FILES.parts("rollouts"),
        labels=FILES.run_labels,
        activations=FILES.parts("activations/base"),
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=model_files("reasoning"),
    output:
        permutations="results/{run}/permutations.parquet",
        rivals="results/{run}/vectors/rivals.parquet",
    log:
        "results/{run}/logs/permutations.log",
    benchmark:
        "results/{run}/benchmarks/permute_labels.tsv"
    priority: 20  # sweeps wait for the rivals
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("steering.permutations"),
        models=digests_of("reasoning", words=["reasoning"]),
        python=derived(PYTHON.python("main")),
    message:
        "Testing permutations of the labels"
    shell:
        "{params.python:q} -m repurpose.steering.permutations"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --activations {input.activations:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.permutations:q} {output.rivals:q}"
        " 2>&1 | log_to {log:q}"


rule measure_log_odds:
    """Steer one target on prefixes of the rollouts and read what it would say next."""
    input:
        rollouts=FILES.parts("rollouts"),
        labels=FILES.run_labels,
        vectors=of_both("results/{run}/vectors/{reader}.parquet"),
        selection="results/{run}/selection.json",
        model=lambda wildcards: model_files(wildcards.target),
    output:
        logodds="results/{run}/logodds/{target}.parquet",
    log:
        "results/{run}/logs/logodds/{target}.log",
    benchmark:
        "results/{run}/benchmarks/measure_log_odds/{target}.tsv"
    retries: JOBS.retries
    conda:
        "../../envs/main.yaml"
    threads: cpu_threads(JOBS.gpus)
    resources:
        mem_mb=growing(JOBS.memory),
        runtime=growing(JOBS.minutes),
        gpu=JOBS.gpus,
    params:
        settings=settings_of("steering.log_odds", "target"),
        models=digests_of("target", words=["target"]),
        python=derived(PYTHON.python("main")),
    message:
        "Reading log-odds of the steered {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.steering.log_odds"
        " --settings {params.settings:q}"
        " --rollouts {input.rollouts:q}"
        " --labels {input.labels:q}"
        " --vectors {input.vectors:q}"
        " --selection {input.selection:q}"
        " --output {output.logodds:q}"
        " 2>&1 | log_to {log:q}"
