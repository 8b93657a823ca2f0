// The page: asks for the status again and again and hands it to the parts. Each part changes only what changed.

import {Attention, attentionItems} from "./attention.js";
import {Histories} from "./history.js";
import {PipelineView} from "./pipeline_view.js";
import {Sources, slotOf} from "./sources.js";
import {Poll, Refused, command, get, token} from "./api.js";
import {askToken, confirmResync} from "./dialogs.js";
import {clockTime, count, duration, plural} from "./format.js";
import {find, make, setAttribute, setHidden, setNote, setText, syncList} from "./dom.js";
import {pipelineIsInTrouble, pipelineState} from "./words.js";

const PAUSE_MS_MIN = 1000, PAUSE_MS_MAX = 5000, MANY_PIPELINES = 50;
const FILTERS = [
    {group: "all", word: "All"}, {group: "live", word: "Live"}, {group: "starting", word: "Starting or copying"},
    {group: "paused", word: "Paused"}, {group: "trouble", word: "Need attention"},
];

const views = new Map();  // pipeline's name → {view: PipelineView, …}, as syncList keeps them
const words = new Map();  // pipeline's name → the word of its state that was shown last
let status = null;        // the newest answer
let clockOffsetMs = 0;    // the service's clock, minus ours
let answeredMs = null;    // when the newest answer came, by our clock
let tookMs = 0;           // how long one turn of the page took
let filter = "all";
let isTokenAsked = false;

function nowMs() {
    return Date.now() + clockOffsetMs;
}

// --- what a person asked for -------------------------------------------------------------------------------------------

function updateTokenButton() {
    setText(find("token-button"), token.has() ? "Forget token" : "Enter token");
}

async function askForToken(why) {
    const isGiven = await askToken(why);
    updateTokenButton();
    return isGiven;
}

const DONE = {
    start: "It was told to start.",
    pause: "It was told to pause: what is in flight is finished and confirmed, and its slot stays.",
    resync: "It was told to copy anew.",
};

function refusalText(error) {
    if (!(error instanceof Refused))
        return "etl-stream was not reached, or did not answer in time; nothing is known of what it did.";
    return [`Refused: ${error.message}.`.replace(/[.!]\.$/, "."), error.allowed].filter((text) => text).join(" ");
}

function answeredText({message, error, remedy}, action) {
    const texts = [message ?? DONE[action], error, remedy ? `What to do: ${remedy}` : ""];
    return texts.filter((text) => text).map((text) => `${text.replace(/[.]$/, "")}.`).join(" ");
}

// say(text, tone) shows what came of it, beside the button.
async function runCommand(pipeline, action, body, say) {
    if (!token.has() && !await askForToken(`To ${action === "resync" ? "copy tables anew" : `${action} a pipeline`}, etl-stream asks for its token.`)) {
        say("Nothing was changed: that needs the token.", "warn");
        return;
    }
    say("Asking…", "off");
    try {
        const answer = await command(pipeline, action, body);
        say(answeredText(answer, action), answer.error ? "bad" : answer.done ? "good" : "warn");
    } catch (error) {
        if (error instanceof Refused && error.status === 401) {
            token.forget();
            updateTokenButton();
        }
        say(refusalText(error), "bad");
    }
    poll.now();
}

const actions = {
    command: runCommand,
    confirmResync(pipeline, tables) {
        const all = (views.get(pipeline)?.view.pipeline.tables ?? []).length;
        return confirmResync(tables === null ? `All ${plural(all, "table")} of ${pipeline}.` : `${tables.join(", ")} of ${pipeline}.`);
    },
};

// --- showing -----------------------------------------------------------------------------------------------------------

const histories = new Histories((name) => {
    const view = views.get(name)?.view;
    if (view !== undefined)
        view.update({pipeline: view.pipeline, nowMs: nowMs()});
});

const seen = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) {
        target.view.isVisible = isIntersecting;
        if (isIntersecting)
            updateView(target.view, target.view.pipeline);
    }
}, {rootMargin: "100px"});

const owner = {
    actions, seen,
    points: (name) => histories.points(name),
    slot: (pipeline) => slotOf(status.sources, pipeline),
    takesChanges: () => status.takesChanges,
    onToggle(view) {
        history.replaceState(null, "", view.isOpen ? `#pipeline=${encodeURIComponent(view.name)}` : "#");
        updateView(view, view.pipeline);
    },
};

function updateView(view, pipeline) {
    if (view.isVisible || view.isOpen)
        histories.continue(view.name, pipeline.lag, nowMs());
    view.update({pipeline, nowMs: nowMs()});
}

function makePipelineView(pipeline) {
    const view = new PipelineView(pipeline, owner);
    return {element: view.element, update: (one) => updateView(view, one), close: () => view.close(), view};
}

function showPipeline(name) {
    const view = views.get(name)?.view;
    if (view === undefined)
        return;
    find("search").value = "";
    setFilter("all");
    view.show();
}

const attention = new Attention(showPipeline);
const sources = new Sources();

const filterButtons = FILTERS.map(({group, word}) => {
    const number = make("span", {class: "number"});
    const button = make("button", {type: "button", "aria-pressed": String(group === filter), onclick: () => setFilter(group)}, `${word} `, number);
    find("filters").append(button);
    return {group, button, number};
});

function setFilter(group) {
    filter = group;
    for (const one of filterButtons)
        setAttribute(one.button, "aria-pressed", String(one.group === group));
    updateShown();
}

function isIn(group, pipeline) {
    return group === "all" || (group === "trouble" ? pipelineIsInTrouble(pipeline) : pipelineState(pipeline).group === group);
}

// Which rows are shown, by filter and search.
function updateShown() {
    const looked = find("search").value.toLowerCase().split(/\s+/).filter((word) => word);
    let shown = 0;
    for (const {view} of views.values()) {
        const isShown = isIn(filter, view.pipeline) && view.matches(looked);
        setHidden(view.element, !isShown);
        shown += isShown;
    }
    setNote(find("pipelines-empty"), shown > 0 ? "" : views.size > 0 ? "No pipeline fits."
        : status !== null ? "There is no pipeline yet: etl-stream pipeline add makes one." : "Asking for the state of the pipelines…");
}

function updateCounts() {
    for (const {group, number} of filterButtons)
        setText(number, count(status.pipelines.filter((pipeline) => isIn(group, pipeline)).length));
    const troubled = status.pipelines.filter(pipelineIsInTrouble).length;
    document.title = troubled > 0 ? `(${troubled}) etl-stream` : "etl-stream";
}

// Said aloud by a screen reader: what became of pipelines since the answer before.
function announceChanges() {
    const changes = [];
    for (const pipeline of status.pipelines) {
        const {word} = pipelineState(pipeline), before = words.get(pipeline.pipeline);
        if (before !== undefined && before !== word)
            changes.push(`${pipeline.pipeline}: ${word}`);
        words.set(pipeline.pipeline, word);
    }
    if (changes.length > 0)
        setText(find("announce"), changes.slice(0, 3).join("; ") + (changes.length > 3 ? `; and ${changes.length - 3} more` : ""));
}

function updateService() {
    const {service} = status;
    const parts = [];
    if (service?.version)
        parts.push(`etl-stream ${service.version}`);
    if (service?.process)
        parts.push(service.process);
    if (Number.isFinite(service?.uptime_seconds))
        parts.push(`running for ${duration(service.uptime_seconds)}`);
    setNote(find("service-text"), parts.join(", "));
}

function showStatus() {
    const began = performance.now();
    setText(find("link-text"), `live, ${clockTime(answeredMs)}`);
    setAttribute(find("link"), "data-tone", "good");
    setHidden(find("banner"), true);
    histories.forgetAllBut(new Set(status.pipelines.map((pipeline) => pipeline.pipeline)));
    syncList(find("pipeline-list"), views, status.pipelines, (pipeline) => pipeline.pipeline, makePipelineView);
    updateShown();
    updateCounts();
    attention.update(attentionItems(status, nowMs()));
    sources.update(status.sources, nowMs());
    updateService();
    announceChanges();
    tookMs = performance.now() - began;
}

function showTrouble(error, nextMs) {
    const isRefused = error instanceof Refused;
    const since = answeredMs !== null ? ` since ${clockTime(answeredMs)}, and what is shown is of then` : "";
    setText(find("link-text"), answeredMs !== null ? `not reached since ${clockTime(answeredMs)}` : "not reached");
    setAttribute(find("link"), "data-tone", "bad");
    setHidden(find("banner"), false);
    setText(find("banner-text"), isRefused ? refusalText(error) : `etl-stream is not reached${since}. Next try in ${duration(Math.ceil(nextMs / 1000))}.`);
    if (isRefused && error.isAboutToken && !isTokenAsked) {
        isTokenAsked = true;  // once by itself, then by the button
        token.forget();
        askForToken("To be read from another machine, this page needs the token.").then((isGiven) => isGiven && poll.now());
    }
}

// --- asking ------------------------------------------------------------------------------------------------------------

const byName = new Intl.Collator("en", {numeric: true}).compare;

async function askStatus() {
    const answer = await get("api/v1/status");
    if (Number.isFinite(answer.serverMs) && Math.abs(answer.serverMs - nowMs()) > 1500)
        clockOffsetMs = answer.serverMs - Date.now();
    return answer;
}

function takeStatus(answer) {
    answeredMs = Date.now();
    const {service = {}, pipelines = [], sources: wal = [], alerts = [], takes_changes: takesChanges = true} = answer.value;
    status = {service, pipelines: pipelines.sort((a, b) => byName(a.pipeline, b.pipeline)), sources: wal, alerts, takesChanges};
    const isFirst = words.size === 0;
    showStatus();
    if (isFirst && location.hash.startsWith("#pipeline="))
        showPipeline(decodeURIComponent(location.hash.slice("#pipeline=".length)));
}

const poll = new Poll(askStatus, {
    // A page that takes long to draw, or shows very many, asks more seldom.
    pauseMs: () => Math.min(Math.max(views.size > MANY_PIPELINES ? 2 * PAUSE_MS_MIN : PAUSE_MS_MIN, 20 * tookMs), PAUSE_MS_MAX),
    onAnswer: takeStatus,
    onTrouble: showTrouble,
});

find("search").addEventListener("input", updateShown);
find("token-button").addEventListener("click", () => {
    if (!token.has())
        return askForToken("Pausing, starting and copying anew need it; reading does too, from another machine.").then((isGiven) => isGiven && poll.now());
    token.forget();
    updateTokenButton();
});
find("banner-button").addEventListener("click", () => poll.now());
document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input, textarea, select");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        find("search").focus();
    } else if (event.key === "Escape" && event.target === find("search")) {
        find("search").value = "";
        updateShown();
    }
});
updateTokenButton();
poll.now();
