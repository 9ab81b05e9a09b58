# Needs: nothing but time. Gives: the embedded pair's weights, anew. Never part of a study: it runs only when asked for
# by name (`snakemake train_organism`), and it declares no output, so that no plan can delete or remake the weights
# that the repository ships. New weights replan, as changed inputs, what a study made with the old ones.


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
