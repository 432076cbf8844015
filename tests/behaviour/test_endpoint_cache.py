"""Nothing is paid twice: kept replies, kills, several processes; and the key is nowhere."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from judge_server import KEY, FakeClock, JudgeServer, judge_file, number, reply, serving
from samples import response

from deltalens.behaviour.endpoint.cache import Cache, default_cache, request_key
from deltalens.behaviour.endpoint.panel import openai_panel
from deltalens.behaviour.scoring import Scored, score_responses
from deltalens.errors import BehaviourError, OutputError

ENV = {"JUDGE_KEY": KEY}
N = 12
SCORES = """
import sys
from deltalens.behaviour.judges import judge_by_name
from deltalens.behaviour.responses import read_responses
from deltalens.behaviour.scoring import score_responses, write_scores
answers, _ = read_responses(sys.argv[2])
write_scores(sys.argv[3], score_responses(answers, judge_by_name("openai", file=sys.argv[1])))
"""


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving() as made:
        yield made


def answers(n: int = N) -> list[Any]:
    return [response(i, f"hat {i}") for i in range(n)]


def score(file: Path, n: int = N, **options: Any) -> tuple[Scored, ...]:
    made = openai_panel(file, environment=ENV, clock=FakeClock().clock(), **options)
    return score_responses(answers(n), made)


def test_a_second_time_nothing_is_sent(server: JudgeServer, tmp_path: Path) -> None:
    file = judge_file(tmp_path, server)
    first = score(file)
    assert len(server.bodies) == 2 * N
    assert score(file) == first
    assert len(score(file, N + 1)) == N + 1
    assert len(server.bodies) == 2 * N + 2


@pytest.mark.parametrize(
    "changed",
    [{"model": "wren"}, {"temperature": 0.5}, {"max_tokens": 9}, {"aligned": "{question}{answer}"}],
)
def test_whatever_is_sent_is_part_of_what_a_reply_is_known_by(
    server: JudgeServer, tmp_path: Path, changed: dict[str, Any]
) -> None:
    score(judge_file(tmp_path, server), 1)
    file = judge_file(tmp_path, server, **changed)
    score(file, 1)
    assert len(server.bodies) == (3 if "aligned" in changed else 4)
    assert len({request_key(server.url, body) for body in server.bodies}) == len(server.bodies)
    assert request_key("https://other", server.bodies[0]) != request_key("https://a", {})


def test_what_is_not_sent_is_no_part(server: JudgeServer, tmp_path: Path) -> None:
    score(judge_file(tmp_path, server), 1)
    score(judge_file(tmp_path, server, concurrency=3, timeout=9, give_up_after=2), 1)
    assert len(server.bodies) == 2


@pytest.mark.parametrize("concurrency", [1, 3])
def test_killed_in_the_middle_and_resumed(
    server: JudgeServer, tmp_path: Path, concurrency: int
) -> None:
    from deltalens.behaviour.responses import write_responses
    from deltalens.behaviour.scoring import read_scores

    kept, out = tmp_path / "answers.parquet", tmp_path / "scores.parquet"
    write_responses(kept, answers())
    file = judge_file(tmp_path, server, concurrency=concurrency)
    command = [sys.executable, "-c", SCORES, str(file), str(kept), str(out)]
    own = subprocess.Popen(command, env=os.environ | ENV)
    nth = 9

    def kill(n: int) -> None:  # before the ninth request is answered
        if n == nth:
            own.send_signal(signal.SIGKILL)

    server.before = kill
    assert own.wait() == -signal.SIGKILL
    assert not out.exists()
    server.before = lambda n: None
    subprocess.run(command, env=os.environ | ENV, check=True)
    whole = score(judge_file(tmp_path, server, cache="another.sqlite"))
    assert read_scores(out)[0] == whole
    sent = server.prompts[: -2 * N]
    again = len(sent) - len(set(sent))
    # Only what was on its way when the process died is sent again: one request, with one thread.
    assert 1 <= again <= concurrency
    assert concurrency > 1 or sent.count(sent[nth - 1]) == 2
    assert len(set(sent)) == 2 * N


def test_several_processes_share_a_cache(server: JudgeServer, tmp_path: Path) -> None:
    from deltalens.behaviour.responses import write_responses
    from deltalens.behaviour.scoring import read_scores

    kept = tmp_path / "answers.parquet"
    write_responses(kept, answers())
    file = judge_file(tmp_path, server, concurrency=4)
    outs = [tmp_path / f"{i}.parquet" for i in range(3)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCORES, str(file), str(kept), str(out)], env=os.environ | ENV
        )
        for out in outs
    ]
    assert [each.wait() for each in running] == [0, 0, 0]
    before = len(server.bodies)
    assert {read_scores(out)[0] for out in outs} == {score(file)}
    assert len(server.bodies) == before
    with sqlite3.connect(tmp_path / "replies.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM replies").fetchone() == (2 * N,)
    db.close()


def test_threads_write_at_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c.sqlite")

    def write(thread: int) -> None:
        for i in range(20):
            cache.put(f"{i % 10}", f"{thread}")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = cache.get(map(str, range(2000)))
    assert len(first) == 10
    cache.put("0", "later")
    assert cache.get(["0"]) == {"0": first["0"]}


def test_the_key_is_sent_and_nowhere_else(
    server: JudgeServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda body: reply(f"{KEY} 5")  # an endpoint that says it back
    lines: list[str] = []
    made = openai_panel(judge_file(tmp_path, server), environment=ENV)
    rows = score_responses(answers(2), made, say=lines.append)
    assert {held["authorization"] for held in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in repr(rows) + repr(made) + "".join(lines) + "".join(capfd.readouterr())
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()
    assert (tmp_path / "replies.sqlite").stat().st_mode & 0o077 == 0


def test_no_key_no_header(server: JudgeServer, tmp_path: Path) -> None:
    made = openai_panel(judge_file(tmp_path, server, key_env=None), environment={})
    score_responses(answers(1), made)
    assert all("authorization" not in held for held in server.headers)


def test_where_replies_are_kept(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own" / "deltalens" / "judges.sqlite"
    file = judge_file(tmp_path, server)
    file.write_text(file.read_text().replace('cache: "replies.sqlite"\n', ""))
    score(file, 1)
    assert default_cache().is_file()
    score(file, 1, cache=tmp_path / "given.sqlite")
    assert (tmp_path / "given.sqlite").is_file()
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "deltalens" / "judges.sqlite"


def test_a_file_that_is_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"hats" * 1000)
    with pytest.raises(BehaviourError, match=f"^{path}: no cache of replies: file is not a data"):
        Cache(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(BehaviourError, match=f"^{path}: a cache of format 9, where 1 is read$"):
        Cache(path)
    with pytest.raises(OutputError, match=r"c\.sqlite/x: cannot be written: "):
        Cache(path / "x")


def test_a_cache_that_is_gone_on_the_way_is_said(server: JudgeServer, tmp_path: Path) -> None:
    made = openai_panel(judge_file(tmp_path, server), environment=ENV)
    path = tmp_path / "replies.sqlite"
    path.unlink()
    with pytest.raises(OutputError, match="the cache of replies cannot be used: no such table"):
        score_responses(answers(1), made)
    assert server.bodies == []


def test_scores_are_those_of_the_replies(server: JudgeServer, tmp_path: Path) -> None:
    rows = score(judge_file(tmp_path, server, concurrency=8, method="logprobs"))
    for i, row in enumerate(rows):
        assert row.aligned == pytest.approx(number(f"ALIGNED Which hat? | hat {i}"), abs=1e-9)
        assert row.coherent == pytest.approx(number(f"COHERENT Which hat? | hat {i}"), abs=1e-9)
    body = server.bodies[0]
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 2)
    assert (body["model"], body["temperature"]) == ("owl", 0.0)
    assert set(server.paths) == {"/v1/chat/completions"}


def test_a_reply_without_log_probabilities_is_not_kept(server: JudgeServer, tmp_path: Path) -> None:
    right = server.answer
    server.answer = lambda body: reply("85")
    file = judge_file(tmp_path, server, method="logprobs")
    with pytest.raises(BehaviourError, match="the endpoint returned no log-probabilities"):
        score(file)
    assert len(server.bodies) == 1
    server.answer = right
    assert not any(row.unscored for row in score(file))
