"""A real Slurm of one node on this machine's loopback: munged, slurmctld and slurmd under one short folder.

The node says that it has more processors and memory than the machine, and two GPUs, which are links to /dev/null: Slurm
hands them out and nothing computes on them. Jobs without one go first: those that wait for one would keep the only
node from them. A job of a node that went down starts again after 40 seconds, not two minutes. Daemons run in the
foreground, as who starts them, on free ports, so that two clusters may run side by side and nothing of the machine's
own configuration is read.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
FOLDERS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=40
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
MinJobAge=3600
KillWait=2
SlurmdTimeout=5
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES PriorityTier=2 MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""
SRUN = """#!/bin/sh
# The executor's job step drops every variable of Slurm before its own srun, that of the configuration too.
export SLURM_CONF="{folder}/slurm.conf"
exec "{program}" "$@"
"""


class Cluster:
    """A running cluster; `environment` is that of whoever uses it."""

    def __init__(self, gpus: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path has 107 characters at most
        self.gpus = gpus
        self._programs = {name: program(name) for name in PROGRAMS}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._write_files()
        path = f"{self.folder / 'bin'}{os.pathsep}{FOLDERS}"
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def _write_files(self) -> None:
        controller, node = free_ports(2)
        user, folder = pwd.getpwuid(os.getuid()).pw_name, self.folder
        for name in ("state", "spool", "bin", "dev"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        text = CONFIGURATION.format(
            folder=folder, user=user, gpus=self.gpus, controller_port=controller, node_port=node
        )
        (folder / "slurm.conf").write_text(text)
        (folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\nIgnoreSystemd=yes\n")
        devices = [folder / "dev" / f"gpu{number}" for number in range(self.gpus)]
        for device in devices:
            device.symlink_to("/dev/null")
        lines = ["AutoDetect=off", *(f"NodeName=localhost Name=gpu File={device}" for device in devices)]
        (folder / "gres.conf").write_text("\n".join(lines) + "\n")
        (folder / "bin" / "srun").write_text(SRUN.format(folder=folder, program=self._programs["srun"]))
        (folder / "bin" / "srun").chmod(0o755)

    def start(self) -> None:
        """Start the daemons, and return once the node takes jobs."""
        munge = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        munge["log-file"] = "munged.log"
        options = [f"--{name}={self.folder / file}" for name, file in munge.items()]
        self._start("munged", "-F", "--force", "--num-threads=2", *options)
        self._wait(lambda: (self.folder / "munge.sock").exists(), "munged opens no socket")
        self._start("slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        self.start_node()

    def start_node(self) -> None:
        """Start the node's daemon, and return once the node takes jobs."""
        # -c: it knows of no step from before, as a node that was without power
        self._start("slurmd", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        self.wait_for_node("idle|mixed|allocated")

    def _start(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.out").open("ab")
        self._daemons[name] = subprocess.Popen(
            [self._programs[name], *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )

    def _wait(self, ready: Callable[[], bool], otherwise: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = [(self.folder / f"{name}.out").read_text()[-2000:] for name in self._daemons]
                raise AssertionError("\n".join([otherwise, f"ended: {dead}", *logs]))
            time.sleep(0.1)

    def ask(self, *command: str) -> str:
        """What a client of the cluster answers; an empty text where the controller is not there yet."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout

    def wait_for_node(self, state: str) -> None:
        """Wait until the node is in a state, by a pattern; its modifiers do not count."""
        self._wait(lambda: re.match(state, self.ask("sinfo", "-h", "-o", "%T")) is not None, f"node is not {state}")

    def jobs(self) -> list[dict[str, str]]:
        """What the controller says of each job, ended ones too."""
        said = self.ask("scontrol", "--oneliner", "--details", "show", "job")
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines() if line.startswith("JobId=")]

    def crash_node(self) -> None:
        """Kill all that runs on the node, as when its power goes: first what would tell the controller of it."""
        self._daemons.pop("slurmd").kill()
        for process in self.steps():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def steps(self) -> list[psutil.Process]:
        """The processes of this cluster's jobs, and before them the slurmstepd of each, which left its daemon."""
        found, watching = [], []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                variables = process.environ()
                if variables.get("SLURM_CONF") == self.environment["SLURM_CONF"] and "SLURM_JOB_ID" in variables:
                    found.append(process)
                    watching += [parent for parent in process.parents() if parent.name() == "slurmstepd"]
        return [*dict.fromkeys(watching), *found]

    def stop(self) -> None:
        """Cancel every job and stop the daemons, each by its own process."""
        self.ask("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name)
        for name in ("slurmd", "slurmctld", "munged"):
            if daemon := self._daemons.get(name):
                daemon.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(10)
                daemon.kill()
        for process in self.steps():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """A cluster for as long as the block runs."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def program(name: str) -> str:
    """Where one of Slurm's programs lies."""
    found = shutil.which(name, path=FOLDERS)
    assert found, f"{name} is not installed; `make slurm` installs it"
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
