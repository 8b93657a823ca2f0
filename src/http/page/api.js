// Asking this etl-stream, and telling it. Only paths relative to the page are used: no request leaves for elsewhere.

const TOKEN_KEY = "etl-stream.token";
const ANSWER_MS_MAX = 15e3;

// The token is kept in the tab's session storage, which ends with the tab; where that is forbidden, in memory.
let kept = null;
try {
    kept = sessionStorage.getItem(TOKEN_KEY);
} catch { /* no storage: memory it is */ }

export const token = {
    has: () => kept !== null,
    set(text) {
        kept = text;
        try {
            sessionStorage.setItem(TOKEN_KEY, text);
        } catch { /* as above */ }
    },
    forget() {
        kept = null;
        try {
            sessionStorage.removeItem(TOKEN_KEY);
        } catch { /* as above */ }
    },
};

// An answer that says no. status: HTTP's; allowed: what the service says would be right, or "".
export class Refused extends Error {
    constructor(status, text, allowed) {
        super(text);
        this.status = status;
        this.allowed = allowed;
    }

    get isAboutToken() {
        return this.status === 401 || this.status === 403;
    }
}

async function ask(path, options) {
    const headers = new Headers(options.headers);
    if (kept !== null)
        headers.set("Authorization", `Bearer ${kept}`);
    return fetch(path, {...options, headers, cache: "no-store", credentials: "same-origin", redirect: "error",
                        signal: AbortSignal.timeout(ANSWER_MS_MAX)});
}

async function refusalOf(answer) {
    let said = {};
    try {
        said = await answer.json();
    } catch { /* not ours, a proxy's perhaps: the status has to do */ }
    return new Refused(answer.status, said.error ?? `it answered ${answer.status} ${answer.statusText}`.trim(), said.allowed ?? "");
}

// {value, serverMs: the service's clock}
export async function get(path) {
    const answer = await ask(path, {});
    if (!answer.ok)
        throw await refusalOf(answer);
    return {value: await answer.json(), serverMs: Date.parse(answer.headers.get("Date") ?? "")};
}

// action: start, pause, resync. What it answers: {done, message, error, remedy}. Throws Refused, or TypeError where it was not reached.
export async function command(pipeline, action, body = null) {
    const answer = await ask(`api/v1/pipelines/${encodeURIComponent(pipeline)}/${action}`, {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body ?? {}),
    });
    if (!answer.ok)
        throw await refusalOf(answer);
    return answer.json();
}

const DELAY_MS_FIRST = 1000, DELAY_MS_MAX = 30e3;

// Asks again and again while the page can be seen: a pause after each answer, a longer one after each failure.
export class Poll {
    // pauseMs(): between two questions. onTrouble(error, nextMs): not answered, the next try is in nextMs.
    constructor(question, {pauseMs, onAnswer, onTrouble}) {
        Object.assign(this, {question, pauseMs, onAnswer, onTrouble});
        this.failures = 0;
        this.timer = null;
        this.isAsking = false;
        document.addEventListener("visibilitychange", () => this.now());
    }

    now() {
        clearTimeout(this.timer);
        this.timer = null;
        if (!document.hidden && !this.isAsking)
            this.turn();
    }

    async turn() {
        let answer, delayMs;
        this.isAsking = true;
        try {
            answer = await this.question();
            this.failures = 0;
            delayMs = this.pauseMs();
        } catch (error) {
            // Up to a quarter less, so that pages that lost the same service do not come back in one instant.
            delayMs = Math.min(DELAY_MS_FIRST * 2 ** this.failures, DELAY_MS_MAX) * (1 - Math.random() / 4);
            this.failures++;
            this.onTrouble(error, delayMs);
        }
        this.isAsking = false;
        if (!document.hidden)
            this.timer = setTimeout(() => this.now(), delayMs);
        try {
            if (answer !== undefined)
                this.onAnswer(answer);
        } catch (error) {
            reportError(error);  // a fault of the page: said, and no reason to stop asking
        }
    }
}
