"""Section `command` of the device check: `score` interrupted and resumed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from device_model import DRY, WHOLE, random_model, tokenizer
from device_scoring import compared

from culnig import open_run


def command(dry: bool, folder: Path) -> dict[str, Any]:
    """`score` whole; then interrupted once some portions are done, and resumed."""
    size = DRY if dry else WHOLE
    saved = folder / "model"
    shutil.rmtree(saved, ignore_errors=True)
    random_model(size.small, "cpu").to(torch.float32 if dry else torch.bfloat16).save_pretrained(saved)
    tokenizer().save_pretrained(saved)
    asked = ["score", "--model", str(saved), "--benchmark", "everyday", "--limit", str(size.n_command)]
    asked += ["--token-budget", "512", "--device", "cpu" if dry else "cuda"]
    whole, stopped = folder / "whole", folder / "stopped"
    for path in (whole, stopped):
        shutil.rmtree(path, ignore_errors=True)
    codes = {"whole": Command([*asked, "-o", str(whole)], folder).wait()}
    interrupted = Command([*asked, "-o", str(stopped)], folder)
    parts = interrupted.interrupt_after(lambda: len(list(stopped.glob("parts/*.h5"))))
    codes["interrupted"] = interrupted.wait()
    codes["resumed"] = Command([*asked, "-o", str(stopped), "--resume"], folder).wait()
    if codes["whole"] or codes["resumed"] or codes["interrupted"] not in (0, 130):
        raise RuntimeError(f"exit codes {codes}: {(folder / 'command.log').read_text()[-2000:]}")
    sums = [open_run(path).moments("everyday").sum for path in (whole, stopped)]
    return {
        "interrupted": codes["interrupted"] == 130,  # 0: it was done before the signal came
        "exit_codes": codes,
        "parts_when_interrupted": parts,
        "same_bits": compared(*sums)["same_bits"],
    }


class Command:
    """culnig-engine in a process of its own: forked where torch has not touched a GPU yet, which is quick."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._log = folder / "command.log"
        if torch.cuda.is_initialized() or "cuda" in arguments:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            with self._log.open("a") as log:
                started = subprocess.Popen(
                    [sys.executable, "-m", "culnig", *arguments], stdout=log, stderr=log, env=environment
                )
            self._pid = started.pid
            self._process: subprocess.Popen[bytes] | None = started
        else:
            self._process = None
            self._pid = os.fork()
            if self._pid == 0:
                self._run(arguments)

    def _run(self, arguments: list[str]) -> None:
        code = 3
        with contextlib.suppress(BaseException), self._log.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            torch.set_num_threads(1)  # the threads of the parent do not come along
            from culnig.cli.main import run

            code = run(arguments)
        os._exit(code)

    def interrupt_after(self, n_parts: Callable[[], int]) -> int:
        """Send Ctrl-C when the first part is there; how many there were."""
        while self._runs():
            if found := n_parts():
                os.kill(self._pid, signal.SIGINT)
                return found
            time.sleep(0.005)
        return n_parts()

    def _runs(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended is None

    def wait(self) -> int:
        """The exit code."""
        if self._process is not None:
            return self._process.wait()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
