"""Which build of torch an environment gets: real pip, real indexes (of tiny wheels) on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEFAULT, CPU = "torch-9.9.0", "torch-9.9.0+cpu"

NVIDIA_SMI = {
    True: '#!/bin/sh\nfor n in 0 1 2 3; do echo "GPU $n: NVIDIA (UUID: GPU-$n)"; done\n',
    False: "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not talk to the driver.'\nexit 9\n",
    None: "#!/bin/sh\necho 'No devices found.'\n",
}
"""What it prints with GPUs, without a driver, and with a driver alone."""


class Web:
    """A web server of one folder; `asked` holds the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        log = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, _format: str, *_arguments: object) -> None:
                log.append(self.path)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


def add_wheel(folder: Path, name: str, version: str) -> None:
    """Write an empty wheel where an index has it: in a folder of its project's name."""
    inside = f"{name}-{version}.dist-info"
    path = folder / name / f"{name}-{version}-py3-none-any.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{inside}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{inside}/RECORD", "")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """Two indexes: `usual`, which is pip's own here, and `cpu`, in which only torch lies."""
    add_wheel(tmp_path / "web" / "usual", "torch", "9.9.0")
    add_wheel(tmp_path / "web" / "usual", "other", "1.0")
    add_wheel(tmp_path / "web" / "cpu", "torch", "9.9.0+cpu")
    served = Web(tmp_path / "web")
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    """A pinned list."""
    path = tmp_path / "list.txt"
    path.write_text("# a list\ntorch==9.9.0  # first\nother==1.0\n")
    return path


def outside(tmp_path: Path, web: Web, gpu: bool | None = False, **extra: str) -> Mapping[str, str]:
    """The environment of a stranger: pip's settings are none but these, and there is a GPU or none."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "nvidia-smi").write_text(NVIDIA_SMI[gpu])
    (tools / "nvidia-smi").chmod(0o755)
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{web.address}/usual",
        "PIP_NO_CACHE_DIR": "1",
        "TORCH_CPU_INDEX": f"{web.address}/cpu",
        **extra,
    }


def dry_run(pinned: Path, environment: Mapping[str, str]) -> tuple[list[str], str]:
    """What install.sh says before pip does, and the build of torch that it would install first."""
    done = subprocess.run(
        [ROOT / "envs" / "install.sh", sys.executable, pinned],
        env={**environment, "PIP_DRY_RUN": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first = next(line for line in lines if line.startswith("Would install"))
    (torch,) = (word for word in first.split() if word.startswith("torch"))
    return lines[: next(n for n, line in enumerate(lines) if line.startswith("Looking in"))], torch


@pytest.mark.parametrize(
    ("choice", "gpu", "torch", "said"),
    [
        ("auto", False, CPU, ["torch comes without CUDA, from {cpu} (TORCH=cuda takes it with)."]),
        ("auto", None, CPU, ["torch comes without CUDA, from {cpu} (TORCH=cuda takes it with)."]),
        (
            "auto",
            True,
            DEFAULT,
            ["An NVIDIA GPU is here: torch comes with CUDA libraries (TORCH=cpu takes it without)."],
        ),
        ("cpu", True, CPU, ["torch comes without CUDA, from {cpu} (TORCH=cuda takes it with)."]),
        ("cuda", False, DEFAULT, []),
    ],
)
def test_a_gpu_and_the_user_decide(
    tmp_path: Path, web: Web, pinned: Path, choice: str, gpu: bool | None, torch: str, said: list[str]
) -> None:
    environment = outside(tmp_path, web, gpu=gpu, TORCH=choice)
    lines = [line.format(cpu=f"{web.address}/cpu") for line in said]
    assert dry_run(pinned, environment) == (lines, torch)
    assert any("/cpu/" in path for path in web.asked) == (torch == CPU)
    assert "/cpu/other/" not in web.asked  # the index is there for torch alone


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/cpu"


@pytest.mark.parametrize(
    ("answer", "wheel"),
    [("none", None), ("refused", None), ("no such folder", None), ("no such name", None), ("refused", "9.9.0+cpu")],
)
def test_an_index_out_of_reach_costs_seconds_and_one_line(
    tmp_path: Path, web: Web, pinned: Path, silent: str, answer: str, wheel: str | None
) -> None:
    """pip's own sources serve then: its index, or the CPU wheel that its configuration points at."""
    index = {
        "none": silent,
        "refused": "http://127.0.0.1:1/cpu",
        "no such folder": f"{web.address}/elsewhere",
        "no such name": "http://no-such-host.invalid/cpu",
    }[answer]
    configured = {}
    if wheel is not None:
        add_wheel(tmp_path / "wheels", "torch", wheel)
        configured = {"PIP_FIND_LINKS": str(tmp_path / "wheels" / "torch")}
    environment = outside(tmp_path, web, TORCH_CPU_INDEX=index, **configured)
    start = time.monotonic()
    lines, torch = dry_run(pinned, environment)
    assert time.monotonic() - start < 30  # pip's own retries last minutes
    assert torch == (DEFAULT if wheel is None else CPU)
    assert len(lines) == 1 and lines[0].startswith(f"PyTorch's CPU wheels ({index}) cannot be reached: ")


def test_the_users_own_extra_index_stays(tmp_path: Path, web: Web, pinned: Path) -> None:
    add_wheel(tmp_path / "web" / "own", "torch", "9.9.0+newer")  # sorts after +cpu
    environment = outside(tmp_path, web, PIP_EXTRA_INDEX_URL=f"{web.address}/own")
    assert dry_run(pinned, environment)[1] == "torch-9.9.0+newer"


def test_an_unknown_build_is_refused(tmp_path: Path, web: Web, pinned: Path) -> None:
    done = subprocess.run(
        [ROOT / "envs" / "install.sh", sys.executable, pinned],
        env=outside(tmp_path, web, TORCH="rocm"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "TORCH=rocm: auto, cpu or cuda is allowed\n")


@pytest.fixture
def checkout(tmp_path: Path, pinned: Path) -> Path:
    """The Makefile and what it calls, beside short lists."""
    folder = tmp_path / "checkout"
    (folder / "envs").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for script in ("install.sh", "create.sh"):
        shutil.copy(ROOT / "envs" / script, folder / "envs")
    for name in ("main", "vllm-cpu", "vllm"):
        shutil.copy(pinned, folder / "envs" / f"{name}.txt")
    (folder / "envs" / "test.txt").write_text("tested==1.0\n")
    return folder


def installed(folder: Path) -> set[str]:
    """The releases that an environment holds."""
    return {path.name.removesuffix(".dist-info") for path in folder.glob("lib/python*/site-packages/*.dist-info")}


@pytest.mark.slow
def test_make_builds_the_environment_of_the_tests_without_cuda(tmp_path: Path, web: Web, checkout: Path) -> None:
    add_wheel(tmp_path / "web" / "usual", "tested", "1.0")
    command = ["make", ".venv/test.stamp", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=checkout, env=outside(tmp_path, web), check=True, capture_output=True)
    assert installed(checkout / ".venv") >= {CPU, "other-1.0", "tested-1.0"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gpu", "torch"), [("vllm-cpu", True, CPU), ("vllm", False, DEFAULT)])
def test_an_engine_gets_its_own_build(
    tmp_path: Path, web: Web, checkout: Path, name: str, gpu: bool, torch: str
) -> None:
    environment = outside(tmp_path, web, gpu=gpu, PYTHON=sys.executable)
    command = [checkout / "envs" / "create.sh", name]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert installed(checkout / "envs" / ".venvs" / name) >= {torch, "other-1.0"}
