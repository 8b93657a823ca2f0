"""Seeds of the random tests that are not fixed."""
import datetime
import os

IN_CI = 20261126


def of_the_day():
    """New each day for whoever runs the tests; the same one where CI is set, whose verdict has to depend on the change alone."""
    return IN_CI if os.environ.get("CI") else int(datetime.date.today().strftime("%Y%m%d"))
