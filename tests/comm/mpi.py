#!/usr/bin/env python3
"""Ranks that are processes: the checks of all collective calls, and what becomes of a run when one of them ends, is killed,
is stopped or does not come.

mpi.py MPIRUN RANK DAPT     RANK: the program of rank.c; DAPT: the command
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

mpirun, rank, dapt = sys.argv[1:]
LAUNCHERS = ("OMPI_", "PMI", "SLURM_", "PRTE_")
environment = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHERS)}
# As root, and more ranks than processors, which Open MPI wants to be asked for; leaks of MPI's own are not ours
lenient = environment | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                         "OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
                         "ASAN_OPTIONS": environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
LOST = 4  # DAPT_COMM_LOST
failures = []


def expect(holds, what, output):
    if not holds:
        failures.append(what)
        print(f"FAILED: {what}\n{output}")


def start(ranks, *words):
    return subprocess.Popen([mpirun, "-n", str(ranks), rank, *words], env=lenient, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process, limit=30):
    """Exit code and output; an mpirun that does not end by itself has failed."""
    try:
        return process.wait(limit), process.stdout.read()
    except subprocess.TimeoutExpired:
        process.kill()
        return "none: it did not end", process.stdout.read()


def process_ids(process, ranks):
    """Process ids by rank, when all have said theirs."""
    said, output = {}, ""
    while len(said) < ranks:
        line = process.stdout.readline()
        output += line
        if not line:
            sys.exit(f"ranks ended before they began:\n{output}")
        if match := re.match(r"rank (\d+) is process (\d+)", line):
            said[int(match[1])] = int(match[2])
    return said


def test_checks():
    for ranks, what in ((1, "checks"), (2, "checks"), (4, "pieces")):
        code, output = end(start(ranks, what), 60)
        expect(code == 0 and f"{ranks} ranks: all holds" in output, f"{what} of {ranks} ranks, exit {code}", output)


def test_abort():
    code, output = end(start(3, "abort", "7"))
    expect(code == 7, f"a rank that ends all with 7: exit {code}", output)


def test_late():
    code, output = end(start(3, "late"))
    said = re.findall(r"nothing came for 2 s from rank 1 \(on \S+\)", output)
    # By the first rank that gives up; on a busy machine another one may do so before it is ended.
    expect(code == LOST and len(said) in (1, 2), f"a rank that does not come: exit {code}, told {len(said)} times", output)


def test_killed():
    process = start(3, "wait")
    os.kill(process_ids(process, 3)[1], signal.SIGKILL)
    code, output = end(process)
    expect(code not in (0, "none: it did not end"), f"a rank that is killed: exit {code}", output)
    expect("rank 1 " in output or "exit code: 9" in output.lower(), "the launcher names the rank that was killed", output)


def test_stopped():
    process = start(3, "wait")
    stopped = process_ids(process, 3)[1]
    os.kill(stopped, signal.SIGSTOP)
    code, output = end(process)
    said = re.findall(r"rank 1 \(on \S+\) has not shown for 3 s that its process runs", output)
    expect(code == LOST and len(said) == 1, f"a rank that is stopped: exit {code}, told {len(said)} times", output)
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{stopped}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    expect(not pathlib.Path(f"/proc/{stopped}").exists(), "the stopped one is gone, too", output)


def test_all_stopped():
    """Nobody is missed where all are stopped for longer than one would be: a job that Slurm suspends, a laptop that sleeps."""
    process = start(2, "wait")
    ids = process_ids(process, 2).values()
    for each in ids:
        os.kill(each, signal.SIGSTOP)
    time.sleep(4)
    for each in ids:
        os.kill(each, signal.SIGCONT)
    time.sleep(1.5)
    expect(process.poll() is None, "ranks that were all stopped for a while go on", "")
    process.terminate()
    end(process)


def test_no_module():
    """Started as one of several with no module: told, and nothing is done. The program is taken away from the modules."""
    with tempfile.TemporaryDirectory(prefix="dapt-test-mpi-") as folder:
        alone = shutil.copy(rank, folder)
        for variables, launcher in ((("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), "mpirun of Open MPI"),
                                    (("PMI_RANK", "PMI_SIZE"), "mpirun of MPICH"),
                                    (("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), "srun of Slurm")):
            done = subprocess.run([alone, "checks"], env=environment | dict(zip(variables, ("0", "3"))),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            expect(done.returncode == 1 and f"started 3 times by {launcher}, but this dapt has no module" in done.stdout,
                   f"no module, {launcher}: exit {done.returncode}", done.stdout)
        # A script of Slurm's in which nothing was started yet; a launch of one; nonsense
        for variables in ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, {"PMI_RANK": "0", "PMI_SIZE": "1"},
                          {"PMI_RANK": "0", "PMI_SIZE": "many"}, {"PMI_RANK": "5", "PMI_SIZE": "2"}):
            done = subprocess.run([alone, "checks"], env=environment | variables, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            expect(done.returncode == 0 and "1 ranks: all holds" in done.stdout, f"{variables} is one process", done.stdout)


def test_other_launcher():
    """Started by a launcher that the module's MPI does not know: it would be alone."""
    done = subprocess.run([rank, "checks"], env=lenient | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    expect(done.returncode == 1 and "srun of Slurm started 4 ranks, but" in done.stdout,
           f"another launcher: exit {done.returncode}", done.stdout)


def test_commands():
    """Most commands are one process: told once."""
    done = subprocess.run([mpirun, "-n", "2", dapt, "plan", "nothing.json"], env=lenient, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = re.findall(r"plan: mpirun of (?:Open MPI|MPICH) started 2 processes, but this command is one", done.stdout)
    expect(done.returncode == 2 and len(said) == 1, f"plan under mpirun: exit {done.returncode}", done.stdout)


for name, test in list(globals().items()):
    if name.startswith("test_"):
        began = time.monotonic()
        test()
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
sys.exit(f"{len(failures)} failed" if failures else 0)
