"""Makes a failing scenario smaller: without tables, steps, statements and options, as long as it still fails the same way.

Pure but for `fails`, the caller's: fails(scenario) → whether it still does. Bounded by a number of such runs.
"""
import copy


class Budget(Exception):
    """All runs are used up."""


class Shrinker:
    def __init__(self, scenario, fails, runs):
        self.best, self.fails, self.left = scenario, fails, runs

    def _try(self, candidate):
        if self.left == 0:
            raise Budget
        self.left -= 1
        if self.fails(candidate):
            self.best = candidate
            return True
        return False

    def _chunks(self, get, put):
        """Delta debugging over a list: get(scenario) → list, put(scenario, list)."""
        size = max(1, len(get(self.best)) // 2)
        while True:
            position, changed = 0, False
            while position < len(get(self.best)):
                candidate = copy.deepcopy(self.best)
                items = get(candidate)
                put(candidate, items[:position] + items[position + size:])
                if self._try(candidate):
                    changed = True
                else:
                    position += size
            if size == 1 and not changed:
                return
            size = max(1, size // 2)

    def _tables(self):
        for table in list(self.best["tables"]):
            candidate = without_table(self.best, table)
            if candidate is not None:
                self._try(candidate)

    def _steps(self):
        def put(scenario, steps):
            scenario["steps"] = steps + ([] if steps and steps[-1]["do"] == "check" else [{"do": "check"}])
        self._chunks(lambda scenario: scenario["steps"][:-1], put)

    def _bodies(self):
        for number in range(len(self.best["steps"])):
            if self.best["steps"][number]["do"] == "tx":
                self._chunks(lambda scenario, number=number: scenario["steps"][number]["body"],
                             lambda scenario, body, number=number: scenario["steps"][number].update(body=body))

    def _options(self):
        if self.best["options"]:
            self._chunks(lambda scenario: scenario["options"], lambda scenario, options: scenario.update(options=options))

    def run(self):
        """The smallest that was found."""
        try:
            self._tables()
            self._steps()
            self._bodies()
        except Budget:
            pass
        return self.best


def without_table(scenario, table):
    """The scenario without a table and what is done to it; None if another table needs it."""
    if any(f'references "{table}"' in one["sql"] for one in scenario["definitions"]):
        return None
    smaller = copy.deepcopy(scenario)
    smaller["tables"].remove(table)
    smaller["definitions"] = [one for one in smaller["definitions"] if one["table"] != table]
    if not isinstance(smaller["publication"], str):
        smaller["publication"]["tables"].remove(table)
        smaller["publication"]["parts"].pop(table, None)
    for step in smaller["steps"]:
        if step["do"] == "tx":
            step["body"] = [part for part in step["body"] if part.get("table") != table]
            for part in step["body"]:
                if "savepoint" in part:
                    part["savepoint"] = [one for one in part["savepoint"] if one["table"] != table]
    return smaller
