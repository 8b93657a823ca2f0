// What a person should look at now, above everything else: alerts, what is wrong with the service, with pipelines, with tables.

import {find, make, setAttribute, setHidden, setText, syncList} from "./dom.js";
import {TroubleView} from "./details.js";
import {count, relative} from "./format.js";
import {alertWord, pipelineIsInTrouble, pipelineState, pipelineTroubles, tableName, tableState, tableTrouble} from "./words.js";

const SHOWN_FIRST = 5, SHOWN_MAX = 100;

function subject(pipeline, table) {
    return `${pipeline ?? ""}\n${table ?? ""}`;
}

function itemsOfPipeline(pipeline, nowMs, items) {
    const name = pipeline.pipeline, state = pipelineState(pipeline);
    for (const trouble of pipelineTroubles(pipeline, nowMs))
        items.push({key: `p ${subject(name)} ${items.length}`, about: subject(name), pipeline: name, title: name, word: state.word,
                    tone: state.tone, trouble});
    for (const table of pipeline.tables ?? []) {
        const trouble = tableTrouble(table, nowMs), {word, tone} = tableState(table);
        if (trouble !== null)
            items.push({key: `t ${subject(name, tableName(table))}`, about: subject(name, tableName(table)), pipeline: name,
                        title: `${name}, ${tableName(table)}`, word, tone, trouble});
    }
}

function itemOfAlert(alert, nowMs) {
    const {pipeline_name: pipeline, source_name: source, table} = alert;
    return {
        key: `a ${alert.type} ${source ?? ""} ${subject(pipeline, table)}`, pipeline, word: alertWord(alert),
        title: [pipeline ?? (source ? `source ${source}` : "etl-stream"), table].filter((text) => text).join(", "),
        tone: alert.status === "danger" ? "bad" : "warn",
        trouble: {what: alert.message ?? "", remedy: alert.remedy ?? "", retry: alert.since ? `Since ${relative(alert.since, nowMs)}.` : ""},
    };
}

// An alert about a pipeline or table that says itself what is wrong would say the same a second time.
const SAID_BY_STATUS = new Set(["pipeline_failing", "table_parked", "rows_refused"]);

export function attentionItems(status, nowMs) {
    const items = [];
    if (status.service?.catalog?.healthy === false)
        items.push({key: "catalog", title: "The catalog", word: "Away", tone: "bad",
                    trouble: {what: status.service.catalog.error ?? "it cannot be reached",
                              remedy: "look at the database or the file that holds it; until it answers, pipelines run on and confirm nothing new", retry: ""}});
    for (const pipeline of status.pipelines)
        if (pipelineIsInTrouble(pipeline))
            itemsOfPipeline(pipeline, nowMs, items);
    const said = new Set(items.map((item) => item.about));
    const alerts = status.alerts.filter((alert) => !SAID_BY_STATUS.has(alert.type) || !said.has(subject(alert.pipeline_name, alert.table)));
    items.unshift(...alerts.map((alert) => itemOfAlert(alert, nowMs)));
    const isBad = (item) => item.tone === "bad";
    return [...items.filter(isBad), ...items.filter((item) => !isBad(item))];
}

class ItemView {
    constructor(item, onShow) {
        this.badge = make("span", {class: "badge"});
        this.title = item.pipeline ? make("button", {type: "button", class: "name", onclick: () => onShow(item.pipeline)})
            : make("span", {class: "name"});
        this.trouble = new TroubleView();
        this.element = make("li", {}, make("h3", {}, this.badge, this.title), this.trouble.element);
    }

    update(item) {
        setText(this.badge, item.word);
        setAttribute(this.badge, "data-tone", item.tone);
        setText(this.title, item.title);
        this.trouble.update(item.trouble);
    }
}

export class Attention {
    constructor(onShow) {
        this.onShow = onShow;
        this.views = new Map();
        this.isWhole = false;
        find("attention-more").addEventListener("click", () => {
            this.isWhole = !this.isWhole;
            this.update(this.items);
        });
    }

    update(items) {
        const shown = items.slice(0, this.isWhole ? SHOWN_MAX : SHOWN_FIRST);
        this.items = items;
        setHidden(find("attention"), items.length === 0);
        setText(find("attention-count"), items.length > 1 ? count(items.length) : "");
        setText(find("attention-more"), this.isWhole ? "Show fewer" : `Show ${count(Math.min(items.length, SHOWN_MAX) - SHOWN_FIRST)} more`);
        setHidden(find("attention-more"), items.length <= SHOWN_FIRST);
        syncList(find("attention-list"), this.views, shown, (item) => item.key, (item) => new ItemView(item, this.onShow));
    }
}
