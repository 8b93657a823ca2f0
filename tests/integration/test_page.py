"""The page at /, in a browser. What it shows and does with a real service; with a mock of the API what a service does not show
in a second: every kind of trouble, hundreds of pipelines, nobody who answers.

Screenshots for people to look at are written to the folder `screenshots` beside the program.
"""
import contextlib
import json
import re

import pytest

from browser import Browser
from page_mock import PageMock, every_kind, many, pipeline
from program import PROGRAM, Timeout, wait_until
from snowflake_client import Snowflake

TOKEN = "of-this-test-only-0123456789"
SCREENSHOTS = PROGRAM.parent / "screenshots"
LOOKS = {"light": {}, "dark": {"dark": True}, "phone": {"width": 360}, "phone-dark": {"width": 360, "dark": True}}
# Of the texts in the head, how many lines each takes: whether it is live, and the token.
HEAD_LINES = """['link-text', 'token-button'].map((id) => {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(id));
    return range.getClientRects().length;
})"""
WHOLE = 6000  # a window so high that all rows are in it: a closed row outside of it is not drawn

RESYNC_IS_OPEN = "document.querySelector('#resync-dialog').open"
ASKS_FOR_TOKEN = "document.activeElement.id === 'token-input'"

# Every text that can be seen, with its contrast to what lies behind it, where that is below 4.5 (WCAG 2.1, 1.4.3).
PALE_TEXTS = """(() => {
    const parse = (color) => {
        const [red, green, blue, alpha = 1] = color.match(/[\\d.]+/g).map(Number);
        return {rgb: [red, green, blue], alpha};
    };
    const ground = (element) => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) {
            const layer = parse(getComputedStyle(one).backgroundColor);
            if (layer.alpha > 0) layers.push(layer);
            if (layer.alpha === 1) break;
        }
        return layers.reverse().reduce((below, {rgb, alpha}) => rgb.map((part, i) => part * alpha + below[i] * (1 - alpha)), [255, 255, 255]);
    };
    const light = (rgb) => {
        const [red, green, blue] = rgb.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const pale = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
        if (!text || !element.checkVisibility() || element.closest("noscript, .unseen")) continue;
        const [one, other] = [light(parse(getComputedStyle(element).color).rgb), light(ground(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        seen++;
        if (contrast < 4.5) pale.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
    }
    return seen < 20 ? [`only ${seen} texts can be seen`] : pale;
})()"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


@pytest.fixture
def mock():
    with PageMock(every_kind()) as one:
        yield one


def row(name):
    return f"document.querySelector({json.dumps(f'[data-pipeline={json.dumps(name)}]')})"


def badge(name):
    return f"{row(name)}?.querySelector('.badge').textContent"


def open_row(tab, name):
    tab.click_until(tab.button(name), f"{row(name)}.querySelector('[aria-expanded=true]') !== null")


def wait_for_badge(tab, name, word, seconds=60):
    tab.wait(f"{badge(name)} === {json.dumps(word)}", seconds, f"{name} to be shown as {word}")


def wait_for_focus(tab, name):
    wait_until(lambda: tab.focused() == name, 30, f"the focus to be on {name}")


def open_every_kind(browser, mock, **look):
    tab = browser.open(mock.url, **look)
    tab.wait(f"document.querySelectorAll('.pipeline').length === {len(mock.status['pipelines'])}")
    return tab


# --- what it looks like ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", LOOKS)
def test_it_can_be_read(browser, mock, look):
    hostile = '<img src="/nowhere" onerror="throw 1">'
    mock.status["pipelines"].append(pipeline("hostile", error=hostile, reason="x", remedy=hostile, tables=[]))
    tab = open_every_kind(browser, mock, height=WHOLE, **LOOKS[look])
    for name in ("billing", "events", "archive"):
        open_row(tab, name)
    tab.wait("document.querySelector('.chart .line')?.getAttribute('d')", what="the points of the last hour")
    words = {name: tab.evaluate(badge(name)) for name in ("shop", "billing", "events", "archive", "crm", "stock")}
    assert words == {"shop": "Live", "billing": "Live", "events": "Copying", "archive": "Paused", "crm": "Retrying", "stock": "Starting"}
    text = re.sub(r"\s+", " ", tab.text())
    for expected in (
            "password authentication failed", "set the user and password right: etl-stream source edit", "Failed 7 times since", "next try in",
            "Parked", "leave the column out of the publication", hostile, "31,000,000 of about 84,000,000 rows", "84,000 rows/s", "about 10 min 30 s left",
            "slot etl_archive is kept", "WAL held back", "slot etl_archive holds back 6.8 GB", "db1", "Much WAL: warning", "3.9 GB", "Not reached",
            "Highest", "Merge The last ended", "takes a snapshot", "1 of 2 tables parked"):
        assert expected in text, f"{expected!r} is not in:\n{text}"
    assert tab.evaluate(PALE_TEXTS) == []
    assert tab.unnamed_controls() == []
    width = LOOKS[look].get("width", 1280)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(HEAD_LINES) == [1, 1]
    tab.screenshot(SCREENSHOTS / f"page-{look}.png")
    tab.wait("document.title === '(3) etl-stream'")
    # The dialogs as well.
    tab.click_until(tab.button("Copy all tables of billing anew"), RESYNC_IS_OPEN)
    assert tab.evaluate(PALE_TEXTS) == [] and tab.unnamed_controls() == []
    assert tab.problems == [] and tab.hosts() == {"127.0.0.1"}
    tab.close()


def test_it_works_by_keyboard(browser, mock):
    tab = open_every_kind(browser, mock)
    tab.press("/")
    tab.type("shop db1 order_lines")
    shown = "[...document.querySelectorAll('.pipeline')].filter((one) => one.checkVisibility()).map((one) => one.dataset.pipeline).join()"
    assert tab.evaluate("document.activeElement.id") == "search"
    tab.wait(f"{shown} === 'archive,crm,shop'")
    tab.press("Escape")
    tab.wait(f"{shown}.split(',').length === 6")
    reached = []
    for _ in range(40):
        tab.press("Tab")
        reached.append(tab.focused())
        outline = tab.evaluate("""['', '::before'].map((part) => getComputedStyle(document.activeElement, part || null))
            .some((style) => style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2)""")
        assert outline, f"the focus on {reached[-1]} cannot be seen"
        if reached[-1] == "archive":
            tab.press("Enter")
        elif reached[-1] == "Start archive":
            break
    assert {"archive", "Start archive"} <= set(reached), reached
    tab.press("Enter")
    tab.wait("document.activeElement.id === 'token-input'")
    tab.press("Escape")
    tab.wait("!document.querySelector('dialog[open]')")
    tab.wait_for_text("Nothing was changed: that needs the token.")
    wait_for_focus(tab, "Start archive")
    tab.press("Enter")
    tab.wait("document.activeElement.id === 'token-input'")
    tab.type(mock.token)
    tab.press("Enter")
    wait_until(lambda: mock.commands == [("archive", "start", {})], 20, "the command")
    tab.wait_for_text("It was told to start.")
    wait_for_focus(tab, "Start archive")
    # The focus stays on the button while everything around it is drawn again, and what became of the pipeline is said aloud.
    mock.status["pipelines"][3].update(state="running", is_live=True)
    wait_for_badge(tab, "archive", "Live")
    wait_for_focus(tab, "Pause archive")
    wait_until(lambda: tab.text("#announce") == "archive: Live", 30, "it to be said aloud")
    assert tab.problems == []
    tab.close()


def test_without_a_token_nothing_can_be_changed(browser, mock):
    mock.status["takes_changes"] = False
    mock.status["pipelines"] = [pipeline("shop"), pipeline("alone", takes_commands=False)]
    tab = open_every_kind(browser, mock)
    open_row(tab, "shop")
    tab.wait_for_text("started without a token (ETL_API_TOKEN)", ".details")
    tab.click(tab.button("Pause shop"))
    mock.status["takes_changes"] = True
    tab.wait(f"{tab.button('Pause shop')}.getAttribute('aria-disabled') === null")
    open_row(tab, "alone")
    tab.wait_for_text("Started by run --from --to", "[data-pipeline=alone]")
    tab.click(tab.button("Copy all tables of alone anew"))
    assert not tab.evaluate("document.querySelector('dialog[open]')") and mock.commands == [] and tab.problems == []
    tab.close()


def test_hundreds_of_pipelines(browser, mock):
    mock.status = many(300)
    tab = browser.open(mock.url)
    tab.wait("document.querySelectorAll('.pipeline').length === 300", 60)
    # Of those that are closed there are no details.
    assert tab.evaluate("document.querySelectorAll('*').length") < 300 * 30
    open_row(tab, "pipeline-007")
    tab.wait_for_text("Rows streamed", ".details")
    assert tab.evaluate("document.querySelectorAll('.details').length") == 1
    # A pipeline that changes changes its own row and the counts, not the others.
    tab.evaluate("""(() => {
        window.changed = new Set();
        new MutationObserver((all) => all.forEach((one) => window.changed.add(one.target.parentElement?.closest('.pipeline')?.dataset.pipeline)))
            .observe(document.querySelector('#pipeline-list'), {subtree: true, childList: true, characterData: true});
    })()""")
    mock.status["pipelines"][200] = pipeline("pipeline-200", "paused")
    wait_for_badge(tab, "pipeline-200", "Paused")
    changed = set(tab.evaluate("[...window.changed].filter((name) => name)"))
    assert "pipeline-200" in changed and changed <= {"pipeline-200", "pipeline-007"}, changed
    spent = min(tab.evaluate("""(() => {
        const search = document.querySelector('#search'), began = performance.now();
        for (const text of ['p', 'pi', 'pipeline-1', 'pipeline-11', '']) {
            search.value = text;
            search.dispatchEvent(new Event('input'));
            document.body.getBoundingClientRect();
        }
        return performance.now() - began;
    })()""") for _ in range(2))
    assert spent < 10000, f"five letters of a search took {spent:.0f} ms"
    tab.click_until("[...document.querySelectorAll('#filters button')].find((one) => one.textContent.startsWith('Need'))",
                    "[...document.querySelectorAll('.pipeline')].filter((one) => !one.hidden).length === 6")
    tab.click_until(tab.button("Show 1 more"), "document.querySelectorAll('#attention-list > li').length === 6")
    tab.screenshot(SCREENSHOTS / "page-hundreds.png")
    assert tab.problems == []
    tab.close()


def test_it_asks_nothing_while_it_is_hidden(browser, mock):
    """Another tab of the same page shows that time passes."""
    def asked(one):
        return sum("/api/" in url for _, url in list(one.requests))
    hidden = open_every_kind(browser, mock)
    seen = open_every_kind(browser, mock)
    seen.call("Page.bringToFront")
    hidden.wait("document.visibilityState === 'hidden'")

    def wait_for_turns(count):
        before = asked(seen)
        wait_until(lambda: asked(seen) >= before + count, 60, "the page that is seen to ask")

    def has_fallen_silent():
        before = asked(hidden)
        wait_for_turns(4)
        return asked(hidden) == before
    wait_until(has_fallen_silent, 60, "the hidden page to ask nothing")  # once what was under way is there
    before = asked(hidden)
    mock.status["pipelines"][3].update(state="running", is_live=True)
    hidden.call("Page.bringToFront")
    wait_for_badge(hidden, "archive", "Live")
    assert asked(hidden) > before and hidden.problems == [] and seen.problems == []
    hidden.close()
    seen.close()


def test_it_says_when_nobody_answers(browser, mock):
    tab = open_every_kind(browser, mock, width=360)
    mock.is_away = True
    tab.wait_for_text("etl-stream is not reached since", "#banner")
    tab.wait_for_text("not reached since", "#link")
    assert tab.evaluate(PALE_TEXTS) == [] and tab.evaluate(HEAD_LINES) == [1, 1]
    tab.screenshot(SCREENSHOTS / "page-not-reached.png")
    mock.is_away = False
    tab.click_until(tab.button("Try now"), "document.querySelector('#banner').hidden")
    tab.wait("document.querySelector('#banner').hidden && document.querySelector('#link').dataset.tone === 'good'")
    # From another machine without the token: it asks for it, and reads with it.
    mock.needs_token_to_read = True
    tab.wait("document.activeElement.id === 'token-input'")
    tab.type(mock.token)
    tab.press("Enter")
    tab.wait("document.querySelector('#banner').hidden")
    tab.close()


# --- a real service ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def service(source, standin, start_service):
    """Two pipelines of one source: one whose first copy takes some seconds, one that nobody may sign in for."""
    source.sql("CREATE TABLE large (id bigint PRIMARY KEY, filler text); CREATE TABLE small (id bigint PRIMARY KEY)")
    source.sql("INSERT INTO large SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 30000) AS i")
    source.sql("INSERT INTO small VALUES (1); ANALYZE large; CREATE PUBLICATION etl FOR TABLE large, small")
    service = start_service("--poll-interval-seconds", 1, HEALTH_ADDR="127.0.0.1:0", ETL_API_TOKEN=TOKEN)
    catalog = start_service.catalog
    Snowflake(standin.to).execute('CREATE SCHEMA "DEMO_DB"."OTHER"')
    catalog.add_source("db", source)
    catalog.add_source("closed", source, user="nobody_there")
    catalog.add_destination("wh", standin.to)
    catalog.add_destination("other", standin.to, schema="OTHER", landing="OTHER_LANDING")
    catalog.add_pipeline("shop", "db", "wh", settings={"copy_rate_limit": "1"})
    catalog.add_pipeline("broken", "closed", "other")
    return service


def url_of(service):
    return re.search(r"http://\S+", service.wait_for_event("listening")["message"]).group().rstrip("/") + "/"


def wanted(start_service, name):
    return start_service.catalog.execute("SELECT status FROM pipelines WHERE name = ?", (name,))[0][0]


def answer_token(tab, text):
    tab.wait("document.activeElement.id === 'token-input'", what="the question for the token")
    tab.type(text)
    tab.press("Enter")


def see_trouble(tab):
    tab.wait_for_text("nobody_there", "#attention", 60)
    tab.wait_for_text("What to do:", "#attention")
    tab.wait(f"['Failed', 'Retrying'].includes({badge('broken')})")


def see_copy_move(tab, service):
    """A copy that was over before it was seen twice, on a machine that stood still, is asked for again."""
    bar, over = f"{row('shop')}?.querySelector('.row progress')", f"{badge('shop')} === 'Live' && 'over'"
    for _ in range(5):
        first = tab.wait(f"{bar}?.checkVisibility() && {bar}.value || {over}", 90, "the copy to begin")
        if first != "over" and tab.wait(f"{bar}?.value > {first} ? 'moved' : {over}", 120, "the copy to move") == "moved":
            break
        service.command("pipeline", "resync", "shop", "public.large")
        with contextlib.suppress(Timeout):  # until the page tells of it
            tab.wait(f"{badge('shop')} !== 'Live'", 5, is_sure=False)
    else:
        pytest.fail("the copy was over each time before it was seen to move")
    wait_for_badge(tab, "shop", "Live", 120)


def test_a_service(browser, service, start_service):
    tab = browser.open(url_of(service))
    see_copy_move(tab, service)
    see_trouble(tab)
    open_row(tab, "shop")
    tab.wait_for_text("public.large", ".details")
    # Without a token, and with a wrong one, nothing changes.
    tab.click_until(tab.button("Pause shop"), ASKS_FOR_TOKEN)
    tab.press("Escape")
    tab.wait_for_text("Nothing was changed: that needs the token.", ".details")
    assert tab.problems == []
    tab.click_until(tab.button("Pause shop"), ASKS_FOR_TOKEN)
    answer_token(tab, "not-the-token-of-this-service")
    tab.wait_for_text("Refused", ".details")
    assert tab.evaluate(badge("shop")) == "Live" and wanted(start_service, "shop") == "START"
    # The browser itself notes that a request was refused; nothing else was.
    refused = wait_until(lambda: [text for text in tab.problems if text.startswith("network: ") and "401" in text], 20, "the browser's note")
    assert tab.problems == refused and len(refused) == 1, tab.problems
    tab.click_until(tab.button("Pause shop"), ASKS_FOR_TOKEN)
    answer_token(tab, TOKEN)
    wait_for_badge(tab, "shop", "Paused")
    assert wanted(start_service, "shop") == "PAUSE"
    tab.wait_for_text("slot", ".details .note")
    tab.click_until(tab.button("Start shop"), f"{badge('shop')} !== 'Paused'")
    wait_for_badge(tab, "shop", "Live")
    # A copy anew is asked for once more before it is done.
    tab.click_until(tab.button("Copy public.small anew"), RESYNC_IS_OPEN)
    # Asked again before the browser has told that the question was closed.
    commands = len(service.events("command"))
    tab.evaluate(f"{tab.button('Cancel')}.click(), {tab.button('Copy public.small anew')}.click()")
    assert tab.evaluate(RESYNC_IS_OPEN) and len(service.events("command")) == commands
    tab.click_until(tab.button("Copy anew"), f"!{RESYNC_IS_OPEN}")
    service.wait_for_event("copied", 60, table="small", count=2)
    wait_for_badge(tab, "shop", "Live")
    see_nothing_left_behind(tab, refused)
    tab.screenshot(SCREENSHOTS / "page-service.png")
    tab.close()


def see_nothing_left_behind(tab, refused):
    assert tab.problems == refused and tab.hosts() == {"127.0.0.1"}, (tab.problems, tab.hosts())
    assert not any("token" in url for _, url in tab.requests)
    assert tab.evaluate("localStorage.length === 0 && document.cookie === ''")
    assert tab.evaluate("Object.values(sessionStorage).join()") == TOKEN
    tab.click(tab.button("Forget token"))
    tab.wait("sessionStorage.length === 0")
