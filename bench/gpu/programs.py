"""Where the programs and files of a measurement lie, and how they are run."""

import contextlib
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import sysconfig
import time


class Failed(Exception):
    """A stage's failure, in words for the report."""


class Skipped(Exception):
    """Why a stage could not run."""


CUDA = pathlib.Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))


def cuda_tool(name):
    """A program of the CUDA toolkit, or None."""
    found = shutil.which(name) or shutil.which(name, path=f"{CUDA}/bin:{CUDA}/compute-sanitizer")
    return found


def library_folders():
    """Folders with cublasLt and NCCL: the toolkit's, then those of PyTorch's packages."""
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"),
                *glob.glob("/usr/local/lib/python3*/*-packages"), *glob.glob("/opt/*/lib/python3*/site-packages")}
    folders = [str(CUDA / "lib64"), str(CUDA / "lib")]
    for package in sorted(packages):
        folders += sorted(glob.glob(f"{package}/nvidia/*/lib"))
    return [folder for folder in folders if os.path.isdir(folder)]


def environment():
    env = dict(os.environ)
    given = [env["LD_LIBRARY_PATH"]] if env.get("LD_LIBRARY_PATH") else []
    env.update(LD_LIBRARY_PATH=":".join(given + library_folders()),
               OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
               OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none",
               NCCL_SOCKET_IFNAME="lo", NCCL_IB_DISABLE="1")
    return env


class Programs:
    """The files of a bundle (launch/bundle.sh --gpu), or of a build folder. Attributes that are
    None are not there."""

    def __init__(self, folder, is_bundle):
        def existing(*names):
            return next((folder / n for n in names if (folder / n).exists()), None)
        self.folder = folder
        if is_bundle:
            self.lockstep, self.mpirun = existing("bin/lockstep"), existing("bin/mpirun")
            self.cuda_suite = existing("tests/cuda_suite")
            self.cuda_kernels = existing("tests/bench_cuda_kernels")
        else:
            self.lockstep = existing("lockstep")
            found = shutil.which("mpirun")
            self.mpirun = pathlib.Path(found) if found else None
            self.cuda_suite = existing("tests/cuda_suite")
            self.cuda_kernels = existing("bench/bench_cuda_kernels")
        self.take(folder / "share/gpu")

    def take(self, folder):
        """The model and its reference from the folder of make_files.py."""
        self.model, self.reference = (
            path if path.exists() else None
            for path in (folder / "model.gguf", folder / "reference.json"))

    def need(self, *names):
        """Throws Failed unless all of them are there."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise Failed(f"not in {self.folder}: {', '.join(missing)}")


def stop(process):
    """Ends a process and all that it started. REQUIRES: it leads a session of its own."""
    for sign, wait in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(wait)
            break
        except subprocess.TimeoutExpired:
            continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what the first left behind


def run(command, log, seconds, env=None, check=True):
    """Runs a command with its output going to the file `log`; its exit status. Throws Failed when it
    takes longer than `seconds`, does not start or, with `check`, fails: with the end of its output."""
    command = [str(part) for part in command]
    begin = time.monotonic()
    with open(log, "ab") as out:
        out.write(("$ " + " ".join(command) + "\n").encode())
        out.flush()
        start = out.tell()
        try:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT,
                                       env={**environment(), **(env or {})}, start_new_session=True)
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from error
        try:
            status = process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            stop(process)
            raise Failed(f"{os.path.basename(command[0])} took longer than {seconds:.0f} s; "
                         + tail(log, start)) from None
    if check and status != 0:
        raise Failed(f"{os.path.basename(command[0])} ended with {status} after "
                     f"{time.monotonic() - begin:.1f} s; " + tail(log, start))
    return status


def tail(log, start=0, size=400):
    """The last words of a log."""
    with open(log, "rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace").strip()
    return "last output: " + text[-size:] if text else "no output"


def output(command, seconds=30):
    """What a short command prints. Throws Failed."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              timeout=seconds, env=environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
