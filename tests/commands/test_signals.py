"""A stopped command leaves nothing half-written, and exits as a shell expects."""

from __future__ import annotations

import signal
import time

import pytest

from tests.commands.common import process
from tests.small_projects import Trained

pytestmark = pytest.mark.slow

# So many shuffled trials are surely not over when the signal comes.
LONG = ("-bs", 3, "-nt", 1500)
INTERRUPTED = "nnabla-influence score: interrupted; nothing half-written is left\n"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "terminated", "terminal closed"],
)
def test_a_stopped_scoring_writes_no_ranking(trained: Trained, tmp_path, number, code: int):
    ranking = tmp_path / "influence.csv"
    ranking.write_text("influence,datasource_index\n")
    words = ("score", "-m", trained.final, "-o", ranking, *LONG)
    running = process("-m", "nnabla_influence", *words, start_new_session=True)
    assert running.stderr is not None
    while not running.stderr.readline().startswith(b"Method"):
        assert running.poll() is None
    running.send_signal(number)
    _, err = running.communicate()
    assert running.returncode == code
    assert err.decode().endswith(INTERRUPTED if number == signal.SIGINT else "")
    assert "Traceback" not in err.decode()
    # A finished order may have left its trace, from which the same command resumes.
    left = [e.name for e in tmp_path.iterdir() if not e.name.startswith(".influence.csv.trace")]
    assert left == ["influence.csv"]
    assert ranking.read_text() == "influence,datasource_index\n"


def test_an_interrupt_while_nnabla_is_imported_ends_well(trained: Trained, tmp_path):
    """Python with a half-imported nnabla crashes at its end, with a signal in place of a code."""
    code = (
        "import sys; from nnabla_influence.commands import main as c; print(1, flush=True);"
        " c.main(sys.argv[1:])"
    )
    for delay in (0.1, 0.3):
        words = ("score", "-m", trained.final, "-o", tmp_path / "a.csv", *LONG)
        running = process("-c", code, *words, start_new_session=True)
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(delay)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate()
        assert running.returncode == 130
        assert err.decode().endswith(INTERRUPTED)
