"""What a check is, how its outcome is told, and the bounds that all of them share."""
import contextlib
import json
import time

OK, DIFFERENT, OBSERVED, SKIPPED = "ok", "DIFFERENT", "observed", "skipped"
SEEN_CHARACTERS_MAX = 600


class OutOfBudget(Exception):
    """The bound on requests, rows or time is reached: nothing more is checked."""


class Skip(Exception):
    """This check cannot be made here, and says why; nothing is wrong."""


def needed(value):
    """For a check that goes on where another one ended."""
    if value is None:
        raise Skip("the check that this one goes on from did not succeed")
    return value


class Budget:
    """Bounds of a whole run. Cleaning up is not bounded by it."""

    def __init__(self, requests_max, rows_max, minutes_max):
        self.requests_max, self.rows_max, self.seconds_max = requests_max, rows_max, minutes_max * 60
        self.requests = self.rows = 0
        self.started = time.monotonic()
        self.is_enforced = True

    def take(self, requests=0, rows=0):
        self.requests += requests
        self.rows += rows
        if not self.is_enforced:
            return
        for name, used, most in (("requests", self.requests, self.requests_max), ("rows", self.rows, self.rows_max),
                                 ("seconds", self.seconds, self.seconds_max)):
            if used > most:
                raise OutOfBudget(f"more than {most:g} {name}")

    @property
    def seconds(self):
        return time.monotonic() - self.started


class Check:
    """One line of the report. A check that says nothing of what it saw was not made."""

    def __init__(self, name, expected):
        self.name, self.expected = name, expected
        self.outcome, self.seen, self.seconds = DIFFERENT, "nothing was seen", None

    def saw(self, seen, is_expected):
        """is_expected None: nobody knows what a live account does; it is noted, not judged."""
        self.seen = shortened(seen)
        self.outcome = OBSERVED if is_expected is None else OK if is_expected else DIFFERENT

    def as_dict(self):
        return {"name": self.name, "expected": self.expected, "seen": self.seen, "outcome": self.outcome,
                "milliseconds": None if self.seconds is None else round(self.seconds * 1000)}


def shortened(value):
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)).split())
    return text if len(text) <= SEEN_CHARACTERS_MAX else text[:SEEN_CHARACTERS_MAX] + "…"


class Report:
    def __init__(self, as_json):
        self.as_json, self.checks = as_json, []

    @contextlib.contextmanager
    def check(self, name, expected):
        """Whatever goes wrong inside is the outcome of this check, and the next one is made."""
        one, started = Check(name, expected), time.monotonic()
        try:
            yield one
        except Skip as reason:
            one.outcome, one.seen = SKIPPED, shortened(str(reason))
        except (OutOfBudget, KeyboardInterrupt, SystemExit) as reason:
            one.outcome, one.seen = DIFFERENT, f"interrupted: {reason or type(reason).__name__}"
            raise
        except Exception as error:  # an answer of any form is an observation
            one.outcome, one.seen = DIFFERENT, shortened(f"{type(error).__name__}: {error}")
        finally:
            if one.seconds is None:
                one.seconds = time.monotonic() - started
            self.checks.append(one)
            self._tell(one)

    def _tell(self, one):
        if not self.as_json:
            print(f"{one.outcome:9}  {one.name}  [{one.seconds * 1000:.0f} ms]\n"
                  f"             expected: {one.expected}\n             seen:     {one.seen}", flush=True)

    def say(self, text):
        if not self.as_json:
            print(text, flush=True)

    def count(self, outcome):
        return sum(one.outcome == outcome for one in self.checks)

    def finish(self, budget, facts):
        counts = {outcome: self.count(outcome) for outcome in (OK, DIFFERENT, OBSERVED, SKIPPED)}
        used = {"requests": budget.requests, "rows": budget.rows, "seconds": round(budget.seconds, 1)}
        if self.as_json:
            print(json.dumps({**facts, "checks": [one.as_dict() for one in self.checks], "counts": counts, "used": used},
                             ensure_ascii=False, indent=1), flush=True)
        else:
            listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
            self.say(f"\n{listed}; {used['requests']} requests, {used['rows']} rows, {used['seconds']:.0f} s")
        return 0 if counts[DIFFERENT] == 0 and self.checks else 1
