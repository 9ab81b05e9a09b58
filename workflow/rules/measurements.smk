# Needs: sweeps/<sweep>/<target>.parquet. Gives: measurements/<sweep>/<target>.parquet, a column per metric.


rule measure_sweep:
    """Measure each steered rollout: keyword share, coherence, length, correctness."""
    input:
        sweep="results/{run}/sweeps/{sweep}/{target}.parquet",
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
        settings=settings_of("measurements"),
        python=main_python,
    message:
        "Measuring sweep {wildcards.sweep} on the {wildcards.target} model"
    shell:
        "{params.python:q} -m repurpose.measurements"
        " --settings {params.settings:q}"
        " --sweep {input.sweep:q}"
        " --output {output.measurements:q}"
        " 2>&1 | tee {log:q} >&2"
