// The sources' WAL: what is there, and what each of our slots keeps back, as the monitor publishes it (src/monitor/watched_source.c).

import {find, make, setAttribute, setHidden, setNote, setText, syncList} from "./dom.js";
import {bytes, duration, relative} from "./format.js";
import {sourceState, walStatus} from "./words.js";

export function slotOf(sources, pipeline) {
    for (const source of sources)
        for (const slot of source.slots ?? [])
            if (slot.pipeline_name === pipeline.pipeline && slot.slot === pipeline.slot)
                return slot;
    return undefined;
}

function cell(label, ...children) {
    return make("td", {role: "cell", "data-label": label}, ...children);
}

class SlotView {
    constructor(slot) {
        this.held = make("span", {});
        this.state = make("span", {class: "badge"});
        this.safe = make("span", {});
        this.reader = make("span", {});
        this.element = make("tbody", {role: "rowgroup"}, make("tr", {role: "row"},
            make("th", {scope: "row", role: "rowheader"}, slot.slot), cell("Pipeline", slot.pipeline_name ?? ""), cell("Held back", this.held),
            cell("State", this.state), cell("Left until it is given up", this.safe), cell("Read", this.reader)));
    }

    update(slot) {
        const {word, tone} = walStatus(slot);
        setText(this.held, bytes(slot.held_back_bytes));
        setText(this.state, word);
        setAttribute(this.state, "data-tone", tone);
        setText(this.safe, Number.isFinite(slot.safe_wal_size_bytes) ? bytes(slot.safe_wal_size_bytes) : slot.wal_status === "lost" || !slot.exists ? "" : "no limit");
        setText(this.reader, slot.active ? "now" : !slot.exists ? ""
            : Number.isFinite(slot.inactive_seconds) ? `not for ${duration(slot.inactive_seconds)}` : "not now");
    }
}

class SourceView {
    constructor({source}) {
        this.badge = make("span", {class: "badge"});
        this.size = make("p", {class: "muted"});
        this.note = make("p", {class: "note"});
        this.slots = new Map();
        this.table = make("table", {role: "table", class: "tables"}, make("caption", {class: "unseen"}, `Slots on ${source.source}`),
            make("thead", {role: "rowgroup"}, make("tr", {role: "row"},
                ...["Slot", "Pipeline", "Held back", "State", "Left until it is given up", "Read"]
                    .map((title) => make("th", {scope: "col", role: "columnheader"}, title)))));
        this.element = make("div", {class: "source"},
            make("div", {class: "source-head"}, make("h3", {}, source.source), this.badge, this.size), this.note, this.table);
    }

    update({source, nowMs}) {
        const {word, tone} = sourceState(source);
        setText(this.badge, word);
        setAttribute(this.badge, "data-tone", tone);
        const parts = [];
        if (Number.isFinite(source.wal_size_bytes))
            parts.push(`${bytes(source.wal_size_bytes)} in pg_wal`);
        if (source.checked_at)
            parts.push(`looked at ${relative(source.checked_at, nowMs)}`);
        setText(this.size, parts.join(", "));
        setNote(this.note, [source.error, source.hint].filter((text) => text).join(" "));
        setHidden(this.table, (source.slots ?? []).length === 0);
        syncList(this.table, this.slots, source.slots ?? [], (slot) => slot.slot, (slot) => new SlotView(slot), this.table.tHead);
    }
}

export class Sources {
    constructor() {
        this.views = new Map();
    }

    update(sources, nowMs) {
        setHidden(find("sources"), sources.length === 0);
        syncList(find("source-list"), this.views, sources.map((source) => ({source, nowMs})), ({source}) => source.source,
                 (item) => new SourceView(item));
    }
}
