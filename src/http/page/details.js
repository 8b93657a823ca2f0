// What is shown of a pipeline that was opened: trouble, copy, lag, facts, tables, and what can be done with it.
// It is made when it is opened and thrown away when it is closed, so hundreds of closed pipelines cost nothing.

import {make, setAttribute, setHidden, setNote, setText, syncList} from "./dom.js";
import {LagChart} from "./chart.js";
import {bytes, count, duration, microseconds, percent, plural, relative} from "./format.js";
import {copySentence, copyTimeLeft, followingSentence, mergeSentence, pipelineTroubles, tableIsInTrouble, tableName, tableState, tableTrouble,
        walSentence} from "./words.js";

// "What to do: …" with what happened above it.
export class TroubleView {
    constructor() {
        this.what = make("p", {class: "what"});
        this.remedy = make("span", {});
        this.remedyLine = make("p", {class: "remedy"}, make("strong", {}, "What to do: "), this.remedy);
        this.retry = make("p", {class: "muted"});
        this.element = make("div", {class: "trouble"}, this.what, this.remedyLine, this.retry);
    }

    update(trouble) {
        setNote(this.what, trouble.what);
        setText(this.remedy, trouble.remedy);
        setHidden(this.remedyLine, !trouble.remedy);
        setNote(this.retry, trouble.retry);
    }
}

class ProgressView {
    constructor(label) {
        this.bar = make("progress", {max: "100", "aria-label": label});
        this.text = make("p", {});
        this.element = make("div", {class: "copy"}, this.bar, this.text);
    }

    update(part, whole, text) {
        setAttribute(this.bar, "value", percent(part, whole));
        setText(this.text, text);
    }
}

function cell(label, ...children) {
    return make("td", {role: "cell", "data-label": label}, ...children);
}

class TableView {
    constructor(table, details) {
        const name = tableName(table);
        this.state = make("span", {class: "badge"});
        this.note = make("span", {class: "muted"});
        this.copied = make("span", {});
        this.streamed = make("span", {});
        this.progress = new ProgressView(`Copy of ${name}`);
        this.trouble = new TroubleView();
        this.troubleRow = make("tr", {role: "row", class: "trouble-row", hidden: true},
            make("td", {role: "cell", colspan: "5"}, this.trouble.element));
        this.element = make("tbody", {role: "rowgroup"},
            make("tr", {role: "row"},
                make("th", {scope: "row", role: "rowheader"}, name),
                cell("State", this.state, this.progress.element, this.note),
                cell("Rows copied", this.copied), cell("Rows streamed", this.streamed),
                make("td", {role: "cell", class: "do"},
                    make("button", {type: "button", class: "plain", "aria-label": `Copy ${name} anew`,
                                    onclick: () => details.resync([name])}, "Copy anew…"))),
            this.troubleRow);
    }

    update({table, nowMs}) {
        const state = tableState(table), trouble = tableTrouble(table, nowMs);
        setText(this.state, state.word);
        setAttribute(this.state, "data-tone", state.tone);
        setText(this.copied, count(table.rows_copied));
        setText(this.streamed, count(table.rows_streamed));
        const notes = [];
        if (table.merge === "append-only")
            notes.push("append-only: it has no key");
        if (table.values_coerced > 0)
            notes.push(`${count(table.values_coerced)} values coerced`);
        setNote(this.note, notes.join("; "));
        setHidden(this.progress.element, table.copy === undefined);
        if (table.copy !== undefined)
            this.progress.update(table.copy.rows, table.copy.rows_expected,
                                 `${percent(table.copy.rows, table.copy.rows_expected)}\u00a0% of about ${count(table.copy.rows_expected)}`);
        setHidden(this.troubleRow, trouble === null);
        if (trouble !== null)
            this.trouble.update(trouble);
    }
}

// Names and texts, one below the other; a text that is empty takes its name with it.
class Facts {
    constructor(names) {
        this.lines = names.map((name) => {
            const text = make("dd", {});
            return {text, line: make("div", {}, make("dt", {}, name), text)};
        });
        this.element = make("dl", {class: "facts"}, ...this.lines.map(({line}) => line));
    }

    update(texts) {
        this.lines.forEach(({text, line}, index) => {
            setText(text, texts[index] ?? "");
            setHidden(line, !texts[index]);
        });
    }
}

// Of one that does not run the bytes are those of when it ended: its slot tells more.
function lagFact(lag) {
    if (!Number.isFinite(lag?.seconds))
        return "";
    return duration(lag.seconds) + (Number.isFinite(lag.bytes) ? `, ${bytes(lag.bytes)} of WAL` : "");
}

function sentFact(pipeline) {
    if (pipeline.rows_sent === undefined)
        return "";
    return `${plural(pipeline.rows_sent, "row")} in ${plural(pipeline.appends, "append")}, ${bytes(pipeline.bytes_sent)} ` +
        `(${bytes(pipeline.bytes_uncompressed)} before compression)`;
}

function latencyFact(pipeline) {
    return pipeline.appends > 0
        ? `append ${microseconds(pipeline.append_latency_us)}, committed after ${microseconds(pipeline.commit_latency_us)}` : "";
}

export class Details {
    // actions: {command(pipeline, action, body, say), confirmResync(pipeline, tables)}
    constructor(name, actions) {
        this.name = name;
        this.actions = actions;
        this.troubles = new Map();
        this.troubleList = make("div", {class: "troubles"});
        this.heldBack = make("p", {class: "note"});
        this.copy = new ProgressView(`Copy of ${name}`);
        this.chart = new LagChart(name);
        this.state = new Facts(["Lag", "Merge", "Merging held", "WAL kept for it", "Rows streamed", "Sent", "Latency", "Merges"]);
        this.about = new Facts(["Source", "Destination", "Publication", "Slot", "Received", "Committed", "Confirmed", "Merged",
                                "Process", "Status of"]);
        this.tables = new Map();
        this.tableList = make("table", {role: "table", class: "tables"}, make("caption", {class: "unseen"}, `Tables of ${name}`),
            make("thead", {role: "rowgroup"}, make("tr", {role: "row"},
                ...["Table", "State", "Rows copied", "Rows streamed"].map((title) => make("th", {scope: "col", role: "columnheader"}, title)),
                make("th", {scope: "col", role: "columnheader"}, make("span", {class: "unseen"}, "Action")))));
        this.makeButtons();
        this.element = make("div", {class: "details"}, this.troubleList, this.heldBack, this.copy.element, this.buttons, this.notice,
            make("div", {class: "columns"}, this.chart.element, this.state.element), this.tableList, this.about.element);
    }

    makeButtons() {
        const {name} = this;
        this.toggle = make("button", {type: "button", onclick: () => this.act(this.toggleAction)});
        this.tryNow = make("button", {type: "button", "aria-label": `Try ${name} now`, onclick: () => this.act("start")}, "Try now");
        this.resyncAll = make("button", {type: "button", "aria-label": `Copy all tables of ${name} anew`, onclick: () => this.resync(null)},
                              "Copy all anew…");
        this.whyNot = make("p", {class: "muted"});
        this.buttons = make("div", {class: "buttons"}, this.toggle, this.tryNow, this.resyncAll, this.whyNot);
        this.notice = make("p", {class: "notice", role: "alert"});
        setHidden(this.notice, true);
    }

    say = (text, tone) => {
        setAttribute(this.notice, "data-tone", tone);
        setNote(this.notice, text);
    };

    // A button that is out of use stays where the focus is; it says so instead of vanishing.
    async act(action, body = null) {
        if (this.isAsking || !this.takesCommands)
            return;
        this.setAsking(true);
        await this.actions.command(this.name, action, body, this.say);
        this.setAsking(false);
    }

    // tables: null: all
    async resync(tables) {
        if (!this.isAsking && this.takesCommands && await this.actions.confirmResync(this.name, tables))
            await this.act("resync", tables === null ? null : {tables});
    }

    setAsking(isAsking) {
        this.isAsking = isAsking;
        this.updateUse();
    }

    updateUse() {
        for (const button of this.element.querySelectorAll(".buttons button, .do button"))
            setAttribute(button, "aria-disabled", this.isAsking || !this.takesCommands ? "true" : null);
    }

    update(pipeline, {nowMs, points, slot, takesChanges}) {
        const troubles = pipelineTroubles(pipeline, nowMs).map((trouble, index) => ({...trouble, index}));
        syncList(this.troubleList, this.troubles, troubles, ({index}) => index, () => new TroubleView());
        setNote(this.heldBack, pipeline.held_back ?? followingSentence(pipeline.following));
        setHidden(this.copy.element, pipeline.copy === undefined);
        if (pipeline.copy !== undefined)
            this.copy.update(pipeline.copy.rows, pipeline.copy.rows_expected,
                `Copying: ${copySentence(pipeline.copy)}; ${copyTimeLeft(pipeline.copy)}.`);
        this.chart.draw(points, nowMs);
        this.state.update([
            lagFact(pipeline.lag), mergeSentence(pipeline.merge, nowMs),
            pipeline.merge_held ? `by ${pipeline.merge_held.by}, until ${relative(pipeline.merge_held.until, nowMs)} at the latest` : "",
            walSentence(slot), pipeline.rows_streamed !== undefined ? count(pipeline.rows_streamed) : "", sentFact(pipeline),
            latencyFact(pipeline),
            pipeline.merges > 0 ? `${count(pipeline.merges)}, the last took ${microseconds(pipeline.merge_took_us)}` : "",
        ]);
        const at = pipeline.positions ?? {};
        this.about.update([pipeline.source, pipeline.destination, pipeline.publication, pipeline.slot, at.received, at.committed,
                           at.confirmed, at.merged, pipeline.process, pipeline.at ? relative(pipeline.at, nowMs) : ""]);
        this.updateTables(pipeline, nowMs);
        this.updateButtons(pipeline, takesChanges);
    }

    updateTables(pipeline, nowMs) {
        const tables = pipeline.tables ?? [];
        // Those in trouble first, else as the source has them.
        const ordered = [...tables.filter(tableIsInTrouble), ...tables.filter((table) => !tableIsInTrouble(table))];
        setHidden(this.tableList, tables.length === 0);
        syncList(this.tableList, this.tables, ordered.map((table) => ({table, nowMs})), ({table}) => tableName(table),
                 ({table}) => new TableView(table, this), this.tableList.tHead);
    }

    updateButtons(pipeline, takesChanges) {
        const isOff = ["paused", "fenced", "ended"].includes(pipeline.state) || pipeline.wanted === "PAUSE";
        this.toggleAction = isOff ? "start" : "pause";
        this.takesCommands = pipeline.takes_commands !== false && takesChanges;
        setText(this.toggle, isOff ? "Start" : "Pause");
        setAttribute(this.toggle, "aria-label", `${isOff ? "Start" : "Pause"} ${this.name}`);
        setHidden(this.tryNow, isOff || !["waiting", "failed"].includes(pipeline.state));
        setNote(this.whyNot, this.takesCommands ? "" : takesChanges ? "Started by run --from --to, which takes no commands."
            : "Nothing can be changed from here: etl-stream was started without a token (ETL_API_TOKEN).");
        this.updateUse();
    }
}
