"""Channels of Snowpipe Streaming: opening, tokens, order, commits, refused rows, limits."""
import http.client
import os
import time

from .account import outcome_of
from .report import Skip, needed

HEALTHY = ("SUCCESS", "ACTIVE", "0")  # src/sinks/snowflake takes the same for healthy
COLUMNS = '"ID" NUMBER(38,0), "NAME" VARCHAR(10)'
# The options of a landing table, but for schema evolution: what an unknown key does without it is asked in value_checks.py.
OPTIONS = "DATA_RETENTION_TIME_IN_DAYS = 1 ERROR_LOGGING = TRUE"
COMMIT_SECONDS_MAX, VISIBLE_SECONDS_MAX, ERROR_TABLE_SECONDS_MAX = 60, 30, 30
UNCOMMITTED_TRIES = 3
APPENDS_AT_ONCE = 15
WIRE_BYTES_MAX = 4 * 1024 * 1024
STATUS_PAUSE_SECONDS = 0.2
UNUSED = "00000000-0000-0000-0000-000000000000"


def run(report, schemas):
    account = schemas.account
    pipe = account.make_pipe("STREAMED", COLUMNS, OPTIONS, kind="TRANSIENT TABLE")
    check_first_look(report, pipe)
    channel = pipe.channel("C1")
    check_opening(report, channel)
    check_append(report, account, pipe, channel)
    check_repeat(report, pipe, channel)
    check_stale(report, channel)
    check_uncommitted(report, account, pipe, channel)
    check_refused_rows(report, account, pipe, channel)
    check_limits(report, account, pipe)
    check_drop(report, pipe, channel)


def committed(status):
    return status["last_committed_offset_token"]


def rows_of(first, count=1):
    return [{"ID": number, "NAME": f"n{number}"} for number in range(first, first + count)]


def wait_committed(channel, token):
    return channel.wait_committed(token, seconds=COMMIT_SECONDS_MAX, pause=STATUS_PAUSE_SECONDS)


def settle(channel):
    """Whatever an earlier check left behind: a good token, and nothing uncommitted."""
    deadline = time.monotonic() + COMMIT_SECONDS_MAX
    while True:
        answer = channel.try_open(fail_on_uncommitted_rows=True)
        if answer.status == 200:
            channel.token = answer.json["next_continuation_token"]
            return answer.json["channel_status"]
        if answer.status != 409 or time.monotonic() > deadline:
            raise RuntimeError(f"the channel does not open: {outcome_of(answer)}")
        time.sleep(STATUS_PAUSE_SECONDS)


def take(channel, rows, end, **options):
    channel.client.budget.take(rows=len(rows))
    return channel.append(rows, end, start=end, encoding="zstd", **options)


def check_first_look(report, pipe):
    with report.check("status of a channel before its default pipe was ever used", "200 without the channel, or 400, 403, 404") as one:
        answer = pipe.client.request("POST", pipe.path() + ":bulk-channel-status", b'{"channel_names":["C1"]}',
                                     pipe.client.ingest_headers(**{"Content-Type": "application/json"}))
        absent = answer.status == 200 and "C1" not in answer.json.get("channel_statuses", {})
        one.saw(f"200 {answer.json}" if answer.status == 200 else outcome_of(answer), absent or answer.status in (400, 403, 404))


def check_opening(report, channel):
    status = None
    with report.check("open of a new channel with offset_token", "200; committed token 'A000'; a healthy status") as one:
        status = channel.open(fail_on_uncommitted_rows=True, offset_token="A000")
        one.saw({name: status.get(name) for name in ("channel_status_code", "last_committed_offset_token", "created_on_ms", "rows_error_count")},
                committed(status) == "A000" and str(status["channel_status_code"]) in HEALTHY)
    with report.check("created_on_ms over a reopen", "the same, and the token too") as one:
        again = needed(status) and channel.open(fail_on_uncommitted_rows=True)
        one.saw(f"{status.get('created_on_ms')}, then {again.get('created_on_ms')}; token {committed(again)}",
                bool(again.get("created_on_ms")) and status.get("created_on_ms") == again["created_on_ms"] and committed(again) == "A000")
    for name, token in (("the same offset_token", "A000"), ("another offset_token", "A001")):
        with report.check(f"open of an existing channel with {name}", "not documented: refused, ignored or set") as one:
            answer = channel.try_open(fail_on_uncommitted_rows=True, offset_token=token)
            seen = f"200, committed token {committed(answer.json['channel_status'])}" if answer.status == 200 else outcome_of(answer)
            one.saw(seen, None)
    settle(channel)


def visible(account, pipe, number):
    return account.value(f'SELECT COUNT(*) FROM {pipe.qualified} WHERE "ID" = {number}')


def check_append(report, account, pipe, channel):
    account.value(f"SELECT COUNT(*) FROM {pipe.qualified}")  # wakes the warehouse, which is not what is measured
    sent = status = None
    with report.check("append of one zstd frame", "200 and another continuation token") as one:
        before = channel.token
        take(channel, rows_of(1, 3), "B001")
        sent = time.monotonic()
        one.saw("200, another token" if channel.token != before else "200, the same token", channel.token != before)
    with report.check("from the answer to an append to its committed token", f"within {COMMIT_SECONDS_MAX} s") as one:
        status = needed(sent) and wait_committed(channel, "B001")
        one.seconds = time.monotonic() - sent
        names = ("rows_inserted", "rows_parsed", "rows_error_count", "snowflake_avg_processing_latency_ms", "channel_status_code")
        one.saw({name: status.get(name) for name in names}, str(status["channel_status_code"]) in HEALTHY)
    with report.check("from the committed token to visible rows", "at once: the first SELECT sees the row") as one:
        needed(status)
        started, looks = time.monotonic(), 1
        while visible(account, pipe, 3) != "1" and time.monotonic() - started < VISIBLE_SECONDS_MAX:
            looks += 1
            time.sleep(STATUS_PAUSE_SECONDS)
        one.saw(f"seen by SELECT number {looks}", looks == 1)


def check_repeat(report, pipe, channel):
    with report.check("the same append again, with the same continuation token", "200 with the same next token; rows once") as one:
        before = channel.token
        first = take(channel, rows_of(10), "C001", token=before)
        answer = channel.try_append(rows_of(10), "C001", start="C001", token=before, encoding="zstd")
        if answer.status == 200:
            channel.token = answer.json["next_continuation_token"]
            wait_committed(channel, "C001")
            count = visible(pipe.client, pipe, 10)
            one.saw(f"200, {'the same' if channel.token == first else 'another'} next token, {count} row(s)", count == "1")
        else:
            one.saw(outcome_of(answer), False)
    settle(channel)


def check_stale(report, channel):
    with report.check("append with a token of before a reopen", "400, STALE_CONTINUATION_TOKEN_SEQUENCER") as one:
        old = channel.token
        channel.open(fail_on_uncommitted_rows=True)
        answer = channel.try_append(rows_of(20), "D000", start="D000", token=old, encoding="zstd")
        one.saw(outcome_of(answer), answer.status == 400 and b"STALE_CONTINUATION_TOKEN_SEQUENCER" in answer.body)
    with report.check("append with a token that never was", "refused") as one:
        answer = channel.try_append(rows_of(20), "D000", start="D000", token="0_0_" + UNUSED, encoding="zstd")
        one.saw(outcome_of(answer), answer.status >= 400)
    settle(channel)


def check_uncommitted(report, account, pipe, channel):
    with report.check("open over uncommitted rows, refusing to lose them", "409, ERR_CHANNEL_HAS_UNCOMMITTED_DATA") as one:
        for number in range(UNCOMMITTED_TRIES):  # a commit may be quicker than the next request
            take(channel, rows_of(30 + number), f"E{number:03}")
            answer = channel.try_open(fail_on_uncommitted_rows=True)
            if answer.status != 200:
                break
            channel.token = answer.json["next_continuation_token"]
        one.saw(outcome_of(answer), None if answer.status == 200 else
                answer.status == 409 and b"ERR_CHANNEL_HAS_UNCOMMITTED_DATA" in answer.body)
    settle(channel)
    with report.check("open over uncommitted rows, giving them up", "200; the row is there only if its token is committed") as one:
        before = committed(channel.status())
        take(channel, rows_of(40), "F001")
        status = channel.open(fail_on_uncommitted_rows=False)
        told = committed(status)
        take(channel, rows_of(41), "F002")
        wait_committed(channel, "F002")
        count = visible(account, pipe, 40)
        one.saw(f"token {before}, then {told}; {count} row(s)", count == ("1" if told == "F001" else "0"))


def check_refused_rows(report, account, pipe, channel):
    before, grown = settle(channel), None
    with report.check("a row that does not convert, between two that do", "rows_error_count grows by one, the others stay") as one:
        take(channel, [{"ID": 50, "NAME": "ok"}, {"ID": 51, "NAME": "longer than ten"}, {"ID": 52, "NAME": "ok"}], "G001")
        status = wait_committed(channel, "G001")
        counts = [visible(account, pipe, number) for number in (50, 51, 52)]
        grown = [(found.get("rows_error_count") or found.get("rows_errors") or 0) for found in (before, status)]
        names = ("rows_error_count", "rows_errors", "last_error_offset_upper_bound", "last_error_message", "last_error_timestamp",
                 "last_error_timestamp_ms", "channel_status_code")
        one.saw({"rows": counts, **{name: status[name] for name in names if name in status}},
                counts == ["1", "0", "1"] and grown[1] == grown[0] + 1)
    with report.check("rows_error_count over a reopen", "not reset") as one:
        again = needed(grown) and settle(channel)
        one.saw({name: again.get(name) for name in ("rows_error_count", "rows_errors")},
                (again.get("rows_error_count") or again.get("rows_errors") or 0) == grown[1])
    with report.check("the error table", f"one row within {ERROR_TABLE_SECONDS_MAX} s") as one:
        started, rows = time.monotonic(), []
        while not rows and time.monotonic() - started < ERROR_TABLE_SECONDS_MAX:
            rows = account.shown(f"SELECT * FROM ERROR_TABLE({pipe.qualified})")
            if not rows:
                time.sleep(STATUS_PAUSE_SECONDS * 5)
        one.saw(rows, len(rows) == 1)


def check_limits(report, account, pipe):
    channel = pipe.channel("C2")
    channel.open(fail_on_uncommitted_rows=True)
    with report.check(f"{APPENDS_AT_ONCE} appends one after the other", "200, or 429 beyond 10 a second") as one:
        answers, started = [], time.monotonic()
        for number in range(APPENDS_AT_ONCE):
            account.budget.take(rows=1)
            answers.append(channel.try_append(rows_of(100 + number), f"{number:03}", start=f"{number:03}", encoding="zstd"))
            if answers[-1].status == 200:
                channel.token = answers[-1].json["next_continuation_token"]
        rate = APPENDS_AT_ONCE / (time.monotonic() - started)
        refused = [answer for answer in answers if answer.status != 200]
        one.saw(f"{rate:.0f} a second; {len(refused)} refused" + (f": {outcome_of(refused[0])}" if refused else ""),
                False if any(answer.status != 429 for answer in refused) else None)
    settle(channel)
    with report.check("an append of more than 4 MiB on the wire", "413") as one:
        body = b'{"ID":1,"NAME":"' + os.urandom(WIRE_BYTES_MAX // 2).hex().encode() + b'"}\n'
        try:
            one.saw(outcome_of(channel.try_append(body, "ZZZ", start="ZZZ")), None)
        except (OSError, http.client.HTTPException) as error:
            one.saw(f"the connection was closed while it was sent: {error}", None)


def check_drop(report, pipe, channel):
    with report.check("drop of a channel", "200, and its status is gone") as one:
        settle(channel)
        answer = channel.drop(fail_on_uncommitted_rows=True)
        if answer.status >= 400:
            raise Skip(f"not dropped: {outcome_of(answer)}") if answer.status == 409 else RuntimeError(outcome_of(answer))
        left = pipe.status(channel.name)
        one.saw(f"{answer.status}; {left}", channel.name not in left)
