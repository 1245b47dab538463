"""What a neighbour tries: other users of the machine, and others on the network."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import psutil
import pytest

from nnabla_influence.dataset import open_dataset
from nnabla_influence.execution.connecting import connected
from nnabla_influence.execution.contact import Contact, new_contact
from nnabla_influence.execution.local_cluster import local_cluster
from nnabla_influence.ranking import Ranking, Scores
from tests.dataset.common import write_csv
from tests.small_projects import REPOSITORY, environment, trained_table, write_table

SECONDS = 5


@dataclass(frozen=True)
class Cluster:
    """Worker processes as `--jobs 2` starts them, at work."""

    contact: Contact
    processes: list[psutil.Process]

    def listening(self) -> list[Any]:
        """Where they listen, and where this process does, which is their client."""
        return [
            socket.laddr
            for process in [*self.processes, psutil.Process()]
            for socket in process.net_connections("all")
            if socket.status == psutil.CONN_LISTEN
        ]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with local_cluster(2) as starting:
        contact = starting.contact()
        with connected(contact.address, contact.security()):
            host = psutil.Process(starting.process.pid)
            yield Cluster(contact, [host, *host.children(recursive=True)])


def test_every_process_listens_on_the_loopback_alone(cluster):
    assert len(cluster.processes) == 3
    assert [place.ip for place in cluster.listening()] == ["127.0.0.1"] * 3


def other_addresses() -> list[str]:
    """Addresses of this machine but the one that is listened on."""
    known = [a.address for found in psutil.net_if_addrs().values() for a in found]
    own = [a.partition("%")[0] for a in known if a.count(".") == 3 or ":" in a]
    usable = []
    for address in {"127.0.0.2", "::1", *own} - {"127.0.0.1"}:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
            try:
                server.bind((address, 0))
            except OSError:
                continue  # a hardware address, or one that is not up
            usable.append(address)
    return usable


def test_no_other_address_of_the_machine_answers(cluster):
    others = other_addresses()
    assert others
    for place in cluster.listening():
        for address in others:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, place.port), SECONDS)
        socket.create_connection(("127.0.0.1", place.port), SECONDS).close()


def run_code(address: str, arguments: dict[str, Any], path: Path, seconds: float = 2) -> list[str]:
    """Have a Dask process write a file, by each of the ways that there are to run code in it."""

    def exploit(path: str = str(path)) -> None:
        Path(path).touch()

    pickled = cloudpickle.dumps(exploit)
    tries: dict[str, Callable[[Any], Any]] = {
        "run": lambda there: there.run(function=pickled, wait=True),
        "run_function": lambda there: there.run_function(
            function=pickled, args=cloudpickle.dumps(()), kwargs=cloudpickle.dumps({})
        ),
        "identity": lambda there: there.identity(),
    }

    async def attack(ask: Callable[[Any], Any]) -> None:
        async with distributed.rpc(address, timeout=seconds, connection_args=arguments) as there:
            await asyncio.wait_for(ask(there), SECONDS)

    answered = []
    for name, ask in tries.items():
        try:
            # In a thread: a browser's tests leave an event loop running in this one.
            with ThreadPoolExecutor() as thread:
                thread.submit(asyncio.run, attack(ask)).result()
        except Exception:
            continue
        answered.append(name)
    return answered


def nobody(contact: Contact) -> tuple[str, dict[str, Any]]:
    return "tcp", {}


def with_another_certificate(contact: Contact) -> tuple[str, dict[str, Any]]:
    return "tls", new_contact().security().get_connection_args("client")


def with_the_certificate_but_not_its_key(contact: Contact) -> tuple[str, dict[str, Any]]:
    """A certificate is no secret: whoever connects is shown it."""
    other = new_contact()
    arguments = other.security().get_connection_args("client")
    arguments["ssl_context"].load_verify_locations(cadata=contact.certificate)
    return "tls", arguments


@pytest.mark.parametrize(
    "who", [nobody, with_another_certificate, with_the_certificate_but_not_its_key]
)
def test_nobody_else_runs_code(cluster, tmp_path, who):
    protocol, arguments = who(cluster.contact)
    for place in cluster.listening():
        address = f"{protocol}://127.0.0.1:{place.port}"
        assert run_code(address, arguments, tmp_path / "owned") == []
    assert not (tmp_path / "owned").exists()


def test_the_attack_is_a_real_one(cluster, tmp_path):
    """With the run's own certificate it succeeds everywhere."""
    arguments = cluster.contact.security().get_connection_args("client")
    for place in cluster.listening():
        owned = tmp_path / f"{place.port}"
        assert "identity" in run_code(f"tls://127.0.0.1:{place.port}", arguments, owned, SECONDS)
        assert owned.exists()


def test_the_key_is_seen_nowhere(cluster):
    secret = cluster.contact.key.splitlines()[3]
    folder = Path(cluster.processes[0].environ()["TMPDIR"])
    assert folder.stat().st_mode & 0o077 == 0
    for process in cluster.processes:
        assert secret not in "\n".join(process.cmdline())
        assert secret not in "\n".join(process.environ().values())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]


# ------------------------------------------------- what files say to the terminal that shows it

ESC = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def said_by(*arguments: object, folder: Path) -> tuple[int, str]:
    """Return the exit code of the command in a process of its own, and all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "nnabla_influence", *map(str, arguments)],
        env=environment(PYTHONPATH=str(REPOSITORY), PYTHONIOENCODING="utf-8"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8")


def write_ranking(folder: Path) -> Path:
    """A ranking whose file names, headers, cells and class names are all from an enemy."""
    rows = [[f"{k}{ESC}.png", k % 2, f"note {ESC}"] for k in range(4)]
    header = ["x:image", f"y:label;{ESC}cat;dog", f"#{ESC}"]
    dataset = open_dataset(write_csv(folder / f"train{ESC}.csv", header, rows), [])
    ranking = folder / f"ranking{ESC}.csv"
    scores = Scores([-1.0, 2.0, 3.0, 4.0], times_seen=[0, 1, 1, 1])
    Ranking(dataset, scores).write(ranking)
    return ranking


def test_nothing_of_a_strangers_files_reaches_the_terminal_as_a_command(tmp_path):
    ranking = write_ranking(tmp_path)
    train = tmp_path / f"train{ESC}.csv"
    bad = tmp_path / f"bad{ESC}.csv"
    bad.write_text(f"x:image,y:label\na,{ESC}\n", encoding="utf-8")
    net = write_table(tmp_path)
    for code, words in [
        (0, ["review", "-i", ranking, "-o", f"{ESC}.html", "--xlsx", f"{ESC}.xlsx"]),
        (1, ["review", "-i", ranking, "-o", "x.html", "--label-column", f"no{ESC}"]),
        (1, ["review", "-i", ranking, "-o", "x.html", "--class-names", f"{ESC}.txt"]),
        (0, ["cleanse", "-i", ranking, "-o", f"clean{ESC}.csv", "-n", "1"]),
        (1, ["cleanse", "-i", ranking, "-t", bad, "-o", "clean.csv", "-n", "1"]),
        (1, ["cleanse", "-i", train, "-o", "clean.csv", "-n", "1"]),
        (1, ["cleanse", "-i", ranking, "-o", f"none{ESC}/clean.csv", "-n", "1"]),
        (1, ["score", "-m", net, "-t", bad, "-o", "x.csv", "--debug"]),
        (1, ["score", "-m", f"{ESC}.nnp", "-o", "x.csv"]),
        (1, ["train", "-c", f"{ESC}.nntxt", "-o", "run"]),
        (1, ["install", "--console", f"{ESC}"]),
        (2, ["score", "-m", net, "-o", "x.csv", ESC]),
        (2, ["score", "-m", net, "-o", "x.csv", "--jobs", ESC]),
        (2, [ESC]),
    ]:
        ended, said = said_by(*words, folder=tmp_path)
        assert (ended, OBEYED.findall(said)) == (code, []), said
        assert "\\x1b" in said or "no\\x1b" in said, said


def test_nor_do_the_rows_that_scoring_shows(tmp_path, tmp_path_factory):
    trained = trained_table(tmp_path_factory.getbasetemp())
    lines = trained.training.read_text(encoding="utf-8").splitlines()
    edited = tmp_path / f"{ESC}.csv"
    edited.write_text(
        "\n".join([f"#{ESC},{lines[0]}", *(f"{ESC},{line}" for line in lines[1:])]) + "\n",
        encoding="utf-8",
    )
    code, said = said_by(
        *("score", "-m", trained.final, "-t", edited, "-o", f"x{ESC}.csv"), folder=tmp_path
    )
    assert (code, OBEYED.findall(said)) == (0, []), said
    assert "#\\x1b[2J" in said
