"""The kernels of a report's notebooks: this Python and nothing of the user's, and they end with the report."""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import matplotlib
from ipykernel.kernelapp import IPKernelApp
from IPython.core import application
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_core.utils import ensure_event_loop, run_sync

from mflib.base import files
from mflib.base.errors import RunError
from mflib.base.files import ROOT
from mflib.base.language import LANGUAGE

# Seconds in which a kernel must answer, also on a machine that has much else to do.
PATIENCE = 120.0
SOCKETS = "MFLIB_SOCKETS"
SERVE = (
    "import os, sys; from mflib.base import parent; "
    f"parent.messages(sys.stdin.buffer, os.environ[{SOCKETS!r}]); "
    "from mflib.study import kernels; kernels.serve()"
)
MADE_WITH = (
    "{{'python': __import__('platform').python_version(),"
    " **__import__('mflib.base.made_by', fromlist=['versions']).versions(*{packages})}}"
)
DID_NOT_START = (
    "the kernel of {step} did not start ({said}), expected {python} to have all that mflib needs: "
    "{python} -m pip install --editable {root}. What this run has left before stays as it was."
)


class Kernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever is installed under its name for this user or in JUPYTER_PATH."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.clients: list[Any] = []

    @property
    def kernel_spec(self) -> KernelSpec:
        """`serve`, in a process of this machine."""
        program = [sys.executable, "-c", SERVE, "-f", "{connection_file}"]
        local = {"kernel_provisioner": {"provisioner_name": "local-provisioner"}}
        return KernelSpec(argv=program, display_name="Python 3", language="python", metadata=local)

    def client(self, **options: Any) -> Any:
        """Who speaks with it; papermill leaves its own open, and all are closed at the end."""
        self.clients.append(client := super().client(**options))
        return client


class Kernels:
    """The kernels of the notebooks that run now.

    Parameters
    ----------
    temporary : folder of what they need while they run; whoever made it removes it
    threads : of numerical libraries in each; the processes that it starts are as many as the machine has cores
    packages : whose versions each is asked for
    """

    def __init__(self, temporary: Path, threads: int, packages: Sequence[str]) -> None:
        self.temporary, self.threads, self.packages = temporary, threads, packages
        self.alive: list[Kernel] = []
        self.killed = False

    @contextmanager
    def started(self, step: str, log: Path) -> Iterator[tuple[Kernel, dict[str, str]]]:
        """A kernel that knows its notebook as a Jupyter server tells it, and the versions of Python and packages in it.

        Parameters
        ----------
        step : its notebook, see `profile.notebook`
        log : where it lists the files that it writes

        Raises
        ------
        RunError
            It does not start, or does not answer; nothing has been touched.
        """
        place = self.temporary / step
        place.mkdir(parents=True)
        sockets, (end, held) = _place_for_sockets(place), os.pipe()
        address = {"transport": "ipc", "ip": f"{sockets}/s"} if sockets else {}
        file = str(place / "kernel.json")
        kernel = Kernel(connection_file=file, **address)
        self.alive.append(kernel)
        try:
            try:
                with (place / "said").open("wb") as stderr:
                    # The interrupt that precedes every shutdown would be logged as an error now and then.
                    options = {"extra_arguments": ["--log-level=50"], "cwd": str(ROOT), "stdin": end, "stderr": stderr}
                    run_sync(kernel.start_kernel)(env=self._environment(step, place, log, sockets), **options)
                made_with = run_sync(_versions)(kernel, self.packages)
            except (OSError, RuntimeError, TimeoutError, KeyError) as error:
                python, root = shlex.quote(sys.executable), shlex.quote(str(ROOT))
                said = self.last_words(step) or error
                raise RunError(DID_NOT_START.format(step=step, said=said, python=python, root=root)) from error
            if self.killed:
                self.kill()
            yield kernel, made_with
        finally:
            self.alive.remove(kernel)
            run_sync(kernel.shutdown_kernel)(now=True)
            for client in kernel.clients:
                client.stop_channels()
            # That of this thread, which nobody else closes.
            ensure_event_loop().close()
            for number in (end, held):
                os.close(number)
            for folder in (sockets, place):
                shutil.rmtree(folder or place, ignore_errors=True)

    def last_words(self, step: str) -> str:
        """The last line of a running notebook's kernel on its own standard error, where no cell writes."""
        lines = (self.temporary / step / "said").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """End them all, from whatever thread: who waits for one finds it dead, and one that is starting ends too."""
        self.killed = True
        for kernel in list(self.alive):
            if process := getattr(kernel.provisioner, "process", None):
                process.kill()

    def _environment(self, step: str, place: Path, log: Path, sockets: Path | None) -> dict[str, str]:
        """That of this process, without what the user has set for Python sessions and figures of his own."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(self.threads))
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "IPYTHONDIR"), str(place))
        style = {"MATPLOTLIBRC": str(Path(matplotlib.get_data_path()) / "matplotlibrc")}
        # A notebook of a report speaks English; the page translates what it shows.
        own = {LANGUAGE: "en", "JPY_SESSION_NAME": f"{step}.ipynb", files.LOG: str(log), SOCKETS: str(sockets or place)}
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONSTARTUP", "MPLBACKEND")}
        return kept | threads | places | style | own


def _place_for_sockets(place: Path) -> Path | None:
    """A new folder in which sockets can be: their names are short, and not every file system or system has them.

    A TCP port, which is taken where there is none, can be somebody else's by the time that the kernel asks for it.
    """
    for parent in (place, Path(tempfile.gettempdir()), Path("/tmp")) if hasattr(socket, "AF_UNIX") else ():
        with suppress(OSError), socket.socket(socket.AF_UNIX) as trial:
            folder = Path(tempfile.mkdtemp(prefix="k", dir=parent))
            try:
                trial.bind(f"{folder}/s-00")
            except OSError:
                folder.rmdir()
            else:
                return folder
    return None


async def _versions(kernel: Kernel, packages: Sequence[str]) -> dict[str, str]:
    """What a kernel says of its Python and its packages."""
    client = kernel.client()
    client.start_channels()
    await client.wait_for_ready(timeout=PATIENCE)
    asked = {"made_with": MADE_WITH.format(packages=list(packages))}
    answer = await client.execute("", store_history=False, user_expressions=asked, reply=True, timeout=PATIENCE)
    found: dict[str, str] = ast.literal_eval(answer["content"]["user_expressions"]["made_with"]["data"]["text/plain"])
    return found


def serve() -> None:
    """What a kernel does all its life, without configuration and start-up files of the whole machine.

    Those of the user are not in its IPYTHONDIR.
    """
    application.ENV_CONFIG_DIRS.clear()
    application.SYSTEM_CONFIG_DIRS.clear()
    # Its own look at the parent, once a second, would end it while `parent.messages` still clears up.
    IPKernelApp.launch_instance(parent_handle=0)
