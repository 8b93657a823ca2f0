"""Chromium without a window, driven over the DevTools protocol through a pipe: no port, no package, no driver.

A Tab keeps what a test wants to be sure of: every request that was sent, and everything that the console, the log of the
browser or an exception complained of (a breach of the Content-Security-Policy is one of these).
Protocol: https://chromedevtools.github.io/devtools-protocol/, messages end with a zero byte (--remote-debugging-pipe).
"""
import base64
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse

from program import Timeout, wait_until

ARGUMENTS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--disable-domain-reliability", "--disable-client-side-phishing-detection", "--mute-audio",
    "--password-store=basic", "--force-color-profile=srgb", "--disable-features=Translate,MediaRouter,OptimizationHints",
    # The page is on this machine. A name that is asked for is not found, whoever asks.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--proxy-server=direct://")
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "/": 191}


class BrowserError(AssertionError):
    pass


def find_chromium():
    found = shutil.which("chromium")
    if found is None:
        raise BrowserError("chromium is not installed: tools/bootstrap packages")
    return found


def high_pipe():
    """Both ends above 9: the child's places for them are 3 and 4, and neither may be there before."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]
    for end in low:
        os.close(end)
    return high


class Browser:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="etl-browser-")
        self.process = None
        self._numbers = 0
        self._answers, self._tabs = {}, {}
        self._news = threading.Condition()
        self._ended = False

    def start(self):
        told_read, told_write = high_pipe()
        said_read, said_write = high_pipe()

        def place_pipe():
            os.dup2(told_read, 3)
            os.dup2(said_write, 4)

        rootless = ["--no-sandbox"] if os.geteuid() == 0 else []
        self.log = open(pathlib.Path(self.folder) / "browser.log", "w+b")
        self.process = subprocess.Popen(
            [find_chromium(), *ARGUMENTS, *rootless, f"--user-data-dir={self.folder}/profile", "about:blank"], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, pass_fds=(3, 4), preexec_fn=place_pipe, start_new_session=True,
            env={**os.environ, "HOME": self.folder})
        os.close(told_read)
        os.close(said_write)
        self._told, self._said = told_write, os.fdopen(said_read, "rb")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.call("Browser.getVersion", seconds=180)
        return self

    def _read(self):
        rest = b""
        while piece := self._said.read1(1 << 16):
            *messages, rest = (rest + piece).split(b"\0")
            with self._news:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif tab := self._tabs.get(message.get("sessionId")):
                        tab.take(message["method"], message["params"])
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def call(self, method, session=None, seconds=60, **parameters):
        with self._news:
            self._numbers += 1
            number = self._numbers
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._told, data):]
        deadline = time.monotonic() + seconds
        with self._news:
            while number not in self._answers:
                if self._ended:
                    raise BrowserError(f"chromium ended:\n{self.log_tail()}")
                if not self._news.wait(max(0, deadline - time.monotonic())) and time.monotonic() > deadline:
                    raise Timeout(f"chromium did not answer {method} within {seconds} s")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url, **view):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        with self._news:
            self._tabs[session] = tab
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            tab.call(f"{domain}.enable")
        tab.look(**view)
        tab.go(url)
        return tab

    def log_tail(self):
        self.log.flush()
        return (pathlib.Path(self.folder) / "browser.log").read_text(errors="replace")[-3000:]

    def close(self):
        if self.process is not None:
            try:
                self.call("Browser.close", seconds=10)
                self.process.wait(10)
            except (AssertionError, OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait(60)
            self._reader.join(10)
            os.close(self._told)
            self._said.close()
            self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


class Tab:
    def __init__(self, browser, target, session):
        self.browser, self.target, self.session = browser, target, session
        self.requests = []   # (method, URL)
        self.problems = []   # texts

    def call(self, method, **parameters):
        return self.browser.call(method, session=self.session, **parameters)

    def take(self, method, told):
        """An event, on the reader's thread."""
        if method == "Network.requestWillBeSent":
            self.requests.append((told["request"]["method"], told["request"]["url"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{told['entry']['source']}: {told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.problems.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console: {[argument.get('value', argument.get('description')) for argument in told['args']]}")

    def hosts(self):
        return {urllib.parse.urlsplit(url).hostname for _, url in self.requests if not url.startswith(("data:", "about:", "blob:"))}

    def look(self, width=1280, height=900, dark=False, calm=True):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}])

    def go(self, url):
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")

    def evaluate(self, text):
        answer = self.call("Runtime.evaluate", expression=text, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(f"{text}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait(self, text, seconds=30, what=None, is_sure=True):
        """Until the expression is true; its value."""
        try:
            return wait_until(lambda: self.evaluate(text), seconds, what or text, is_sure=is_sure)
        except Timeout as error:
            raise Timeout(f"{error}; the page shows:\n{self.text()[:3000]}") from None

    def wait_for_text(self, text, within="body", seconds=30):
        return self.wait(f"document.querySelector({json.dumps(within)})?.innerText.includes({json.dumps(text)})", seconds, f"{text!r} in {within}")

    def text(self, selector="body"):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def button(self, name):
        """JavaScript for the button that can be seen and has that accessible name."""
        return (f"[...document.querySelectorAll('button')].find((one) => one.checkVisibility() && "
                f"(one.getAttribute('aria-label') ?? one.textContent).trim() === {json.dumps(name)})")

    def place_of(self, element):
        """JavaScript for the middle of what the JavaScript finds, which comes into view; null if nothing is found."""
        return f"""(() => {{
            const element = {element};
            if (!element) return null;
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""

    def click_at(self, place):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def click(self, element):
        """With the mouse; whatever lies above it gets the click."""
        self.click_at(self.wait(self.place_of(element), what=f"{element} to click"))

    def click_until(self, element, until, seconds=60):
        """A page that changes by itself may move what is clicked away from under the mouse: then it is clicked again. It may also come
        to what is wanted by itself, and what was to be clicked is gone."""
        def try_once():
            if self.evaluate(until):
                return True
            place = self.evaluate(self.place_of(element))
            if place is None:
                return False
            self.click_at(place)
            try:
                return self.wait(until, 4, is_sure=False)
            except Timeout:
                return False
        wait_until(try_once, seconds, f"{until} after a click on {element}")

    def press(self, key):
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        code = {"windowsVirtualKeyCode": KEYS[key], "key": key, "code": {" ": "Space", "/": "Slash"}.get(key, key)}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def focused(self):
        return self.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()")

    def screenshot(self, path):
        """The whole page, for people to look at; the window is as high as the page meanwhile, at most 4,000 lines."""
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height, view = self.evaluate("[innerWidth, document.body.offsetHeight, innerHeight]")
        metrics = {"width": width, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", height=min(max(height, 700), 4000), **metrics)
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
        self.call("Emulation.setDeviceMetricsOverride", height=view, **metrics)

    def unnamed_controls(self):
        """Of the browser's own accessibility tree: what a person can work or has to know, and that has no name."""
        roles = {"button", "link", "textbox", "searchbox", "checkbox", "combobox", "dialog", "progressbar", "image", "img", "table",
                 "columnheader", "rowheader", "group", "region", "heading"}
        return [(node["role"]["value"], node.get("nodeId")) for node in self.call("Accessibility.getFullAXTree")["nodes"]
                if not node["ignored"] and node.get("role", {}).get("value") in roles and not node.get("name", {}).get("value", "").strip()]

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
