// What a status document says, in people's words. Pure: documents in, texts out.
//
// The documents are those of `etl-stream status --json` (src/pipeline/status.c, src/supervisor/job.c). A tone is one of
// good, busy, warn, bad, off: never colour alone, the words say the same.

import {bytes, clockTime, count, duration, plural, relative} from "./format.js";

// What it does on its way to running.
const STEPS = {
    idle: "begins", starting: "begins", checking: "checks both ends", opening: "connects to the source", preparing: "prepares its tables",
    snapshot: "takes a snapshot", opening_channels: "opens channels",
};

// failed and waiting are tried again by themselves; fenced: another writer has its channels; ended: of run --from --to.
const OTHERWISE = {
    waiting: {word: "Retrying", tone: "bad", group: "trouble"},
    failed: {word: "Failed", tone: "bad", group: "trouble"},
    fenced: {word: "Taken over", tone: "bad", group: "trouble"},
    ended: {word: "Ended", tone: "off", group: "paused"},
    stopping: {word: "Stopping", tone: "off", group: "paused"},
    paused: {word: "Paused", tone: "off", group: "paused"},
    claimed_elsewhere: {word: "Elsewhere", tone: "off", group: "paused"},
    never_started: {word: "Not started", tone: "off", group: "paused"},
};

const TABLE_STATES = {
    new: {word: "Waits for its copy", tone: "busy"},
    copying: {word: "Copying", tone: "busy"},
    copied: {word: "Waits for its first merge", tone: "busy"},
    live: {word: "Live", tone: "good"},
    parked: {word: "Parked", tone: "bad"},
    unpublished: {word: "Left the publication", tone: "off"},
};

export function tableName(table) {
    return `${table.schema}.${table.table}`;
}

export function tableState(table) {
    if (table.retry !== undefined && table.state !== "parked")
        return {word: "Failed, tried again", tone: "warn"};
    return TABLE_STATES[table.state] ?? {word: table.state, tone: "off"};
}

export function tableIsInTrouble(table) {
    return table.state === "parked" || table.retry !== undefined || Boolean(table.trouble);
}

// group: the filter under which it is found.
function stateOfRunning(pipeline) {
    if (pipeline.copy !== undefined)
        return {word: "Copying", tone: "busy", group: "starting"};
    // is_live is of the first merge since it was started, which may be long in coming: the tables know better.
    if ((pipeline.tables ?? []).some((table) => ["new", "copying", "copied"].includes(table.state)))
        return {word: "Catching up", tone: "busy", group: "starting"};
    return {word: "Live", tone: "good", group: "live"};
}

export function pipelineState(pipeline) {
    const known = pipeline.state === "running" ? stateOfRunning(pipeline)
        : STEPS[pipeline.state] !== undefined ? {word: "Starting", tone: "busy", group: "starting"}
        : OTHERWISE[pipeline.state] ?? {word: pipeline.state ?? "Unknown", tone: "off", group: "paused"};
    if (known.tone !== "bad" && pipelineIsInTrouble(pipeline))
        return {...known, tone: "warn"};
    return known;
}

export function pipelineIsInTrouble(pipeline) {
    return Boolean(pipeline.error) || OTHERWISE[pipeline.state]?.group === "trouble" || pipeline.circuit?.state === "open" ||
        (pipeline.tables ?? []).some(tableIsInTrouble);
}

function retrySentence(retry, nowMs) {
    if (retry === undefined)
        return "";
    const parts = [`Failed ${retry.failures === 1 ? "once" : `${count(retry.failures)} times`}`];
    if (retry.since !== undefined)
        parts.push(`since ${clockTime(Date.parse(retry.since))}`);
    let text = parts.join(" ");
    if (retry.parked_after !== undefined)
        text += ` (parked after ${count(retry.parked_after)})`;
    return retry.next_try !== undefined ? `${text}, next try ${relative(retry.next_try, nowMs)}.` : `${text}.`;
}

function upperFirst(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}

// {what, remedy, retry} of a table, or null.
export function tableTrouble(table, nowMs) {
    if (!tableIsInTrouble(table))
        return null;
    return {
        what: table.reason ?? table.retry?.error ?? table.trouble ?? "",
        remedy: table.remedy ?? "",
        retry: retrySentence(table.retry, nowMs),
    };
}

// All that is wrong with a pipeline itself, the gravest first.
export function pipelineTroubles(pipeline, nowMs) {
    const troubles = [];
    if (pipeline.error)
        troubles.push({what: pipeline.error, remedy: pipeline.remedy ?? "", retry: retrySentence(pipeline.retry, nowMs)});
    if (pipeline.circuit?.state === "open")
        troubles.push({what: upperFirst(pipeline.circuit.reason ?? "the destination is left alone for a while"),
                       remedy: pipeline.circuit.remedy ?? "",
                       retry: pipeline.circuit.next_try ? `Next try ${relative(pipeline.circuit.next_try, nowMs)}.` : ""});
    return troubles;
}

export function mergeSentence(merge, nowMs) {
    if (merge === undefined)
        return "This destination has no merge.";
    switch (merge.state) {
    case "running":
        return `Merging ${plural(merge.tables, "table")} up to ${merge.up_to} for ${duration(merge.seconds)}` +
            (merge.first_merges > 0 ? `, ${count(merge.first_merges)} for the first time` : "");
    case "waiting":
        return `Waits for its time of day, the next may begin ${relative(merge.next, nowMs)}`;
    case "searching":
        return "Looks for the table that makes merges fail";
    case "resolving":
        return "Asks how the last merge ended; it may still be under way";
    default:
        return merge.last !== undefined ? `The last ended ${relative(merge.last, nowMs)}` : "None yet";
    }
}

export function followingSentence(following) {
    return following === undefined ? ""
        : `Follows the changed definition of ${following.tables.join(", ")}: nothing is read since ${clockTime(Date.parse(following.since))}, ` +
            `it waits for ${following.waits_for}.`;
}

export function copySentence(copy) {
    const parts = [`${count(copy.rows)} of about ${plural(copy.rows_expected, "row")}`];
    if (copy.rows_per_second > 0)
        parts.push(`${count(copy.rows_per_second)} rows/s`, `${bytes(copy.bytes_per_second)}/s`);
    parts.push(`${count(copy.tables_read)} of ${plural(copy.tables, "table")} read`);
    if (copy.connections > 0)
        parts.push(`on ${plural(copy.connections, "connection")}`);
    return parts.join(", ");
}

export function copyTimeLeft(copy) {
    if (copy.ranges > 0 && copy.ranges_read === copy.ranges)
        return "all is read, the last commits are awaited";
    return copy.seconds_left !== undefined ? `about ${duration(copy.seconds_left)} left` : "time left not known yet";
}

// For the row of a pipeline: "3 tables live", "1 of 3 tables parked", what it does while it starts.
export function tablesSentence({state, tables = []}) {
    if (STEPS[state] !== undefined)
        return STEPS[state];
    if (state === "claimed_elsewhere")
        return "in another process";
    if (tables.length === 0)
        return "no tables yet";
    const parked = tables.filter((table) => table.state === "parked").length;
    const live = tables.filter((table) => table.state === "live").length;
    const all = plural(tables.length, "table");
    if (parked > 0)
        return `${count(parked)} of ${all} parked`;
    return live === tables.length ? `${all} live` : `${count(live)} of ${all} live`;
}

// [what it is called, how much] of a row; a pipeline that does not run has no lag in time, but a slot that keeps WAL.
export function lagSentence({lag}, slot) {
    if (Number.isFinite(lag?.seconds))
        return ["lag", duration(lag.seconds)];
    return Number.isFinite(slot?.held_back_bytes) ? ["keeps", `${bytes(slot.held_back_bytes)} of WAL`] : ["", ""];
}

const ALERTS = {
    wal_alert: "Much WAL", source_down: "Source not reached", slot_held_back: "WAL held back", slot_at_risk: "Slot at risk",
    slot_lost: "Slot lost", slot_inactive: "Slot not read", pipeline_paused: "Paused for long", pipeline_failing: "Fails",
    pipeline_stuck: "Gets no further", table_parked: "Table parked", rows_refused: "Rows refused",
    catalog_down: "Catalog not reached",
};

export function alertWord(alert) {
    return ALERTS[alert.type] ?? String(alert.type).replaceAll("_", " ");
}

const WAL_STATUS = {
    reserved: {word: "within limits", tone: "good"},
    extended: {word: "beyond max_wal_size", tone: "good"},
    unreserved: {word: "about to be lost", tone: "bad"},
    lost: {word: "lost", tone: "bad"},
};

export function sourceState({up, level}) {
    if (up === false)
        return {word: "Not reached", tone: "bad"};
    if (up !== true)
        return {word: "Not looked at yet", tone: "off"};
    if (level === "danger" || level === "warning")
        return {word: `Much WAL: ${level}`, tone: level === "danger" ? "bad" : "warn"};
    return {word: "Reached", tone: "good"};
}

export function walStatus(slot) {
    if (slot.exists === false)
        return {word: "not there", tone: "off"};  // before the first start; that one was lost is an alert
    return WAL_STATUS[slot.wal_status] ?? {word: slot.wal_status ?? "not known", tone: "off"};
}

// What a slot keeps, for a line among others.
export function walSentence(slot) {
    if (slot === undefined || slot.exists === false)
        return "";
    const parts = [Number.isFinite(slot.held_back_bytes) ? bytes(slot.held_back_bytes) : "", walStatus(slot).word];
    if (Number.isFinite(slot.safe_wal_size_bytes))
        parts.push(`${bytes(slot.safe_wal_size_bytes)} more until the server gives it up`);
    return parts.filter((text) => text).join(", ");
}

// "postgres://etl@db1:5432/shop?sslmode=require" → "db1:5432/shop", for a row; the details have the whole.
export function shortEnd(text) {
    return String(text).replace(/^[a-z]+:\/\/(?:[^@/]*@)?/, "").replace(/\?.*$/, "");
}
