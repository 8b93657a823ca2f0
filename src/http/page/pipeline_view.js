// A pipeline's row in the list, and what belongs to it when it is open.

import {make, setAttribute, setHidden, setText} from "./dom.js";
import {Sparkline} from "./chart.js";
import {Details} from "./details.js";
import {percent} from "./format.js";
import {copyTimeLeft, lagSentence, pipelineState, shortEnd, tableName, tablesSentence} from "./words.js";

let numbers = 0;

// What the search looks in.
function searchText(pipeline) {
    return [pipeline.pipeline, pipeline.source, pipeline.destination, ...(pipeline.tables ?? []).map(tableName)]
        .join("\n").toLowerCase();
}

export class PipelineView {
    // owner: {actions, points(name), slot(pipeline), takesChanges(), seen: IntersectionObserver, onToggle(view)}
    constructor(pipeline, owner) {
        this.name = pipeline.pipeline;
        this.owner = owner;
        this.isVisible = false;
        this.details = null;
        const id = `pipeline-${++numbers}`;
        this.badge = make("span", {class: "badge"});
        this.button = make("button", {type: "button", "aria-expanded": "false", "aria-controls": id, onclick: () => this.toggle()},
                           this.name);
        this.ends = make("p", {class: "ends muted"});
        this.tables = make("p", {class: "count"});
        this.lagName = make("span", {class: "label"});
        this.lag = make("span", {});
        this.lagLine = make("p", {class: "lag"}, this.lagName, " ", this.lag);
        this.bar = make("progress", {max: "100", "aria-label": `Copy of ${this.name}`});
        this.left = make("span", {class: "muted"});
        this.copy = make("div", {class: "row-copy"}, this.bar, this.left);
        this.spark = new Sparkline();
        this.place = make("div", {id, class: "place", hidden: true});
        this.element = make("li", {class: "pipeline", "data-pipeline": this.name},
            make("div", {class: "row"}, this.badge, make("div", {class: "who"}, make("h3", {}, this.button), this.ends), this.tables,
                 make("div", {class: "now"}, this.lagLine, this.copy), this.spark.element),
            this.place);
        this.element.view = this;
        owner.seen.observe(this.element);
    }

    close() {
        this.owner.seen.unobserve(this.element);
    }

    get isOpen() {
        return this.details !== null;
    }

    matches(words) {
        this.searchText ??= searchText(this.pipeline);
        return words.every((word) => this.searchText.includes(word));
    }

    update({pipeline, nowMs}) {
        if (this.pipeline !== pipeline) {
            this.pipeline = pipeline;
            this.searchText = null;
            this.state = pipelineState(pipeline);
            this.updateRow(pipeline);
        }
        if (this.isOpen)
            this.updateDetails(nowMs);
        if (this.isVisible)
            this.spark.draw(this.owner.points(this.name), nowMs);
    }

    updateRow(pipeline) {
        const {copy} = pipeline, [lagName, lag] = lagSentence(pipeline, this.owner.slot(pipeline));
        setText(this.badge, this.state.word);
        setAttribute(this.badge, "data-tone", this.state.tone);
        setText(this.ends, pipeline.source ? `${shortEnd(pipeline.source)} → ${shortEnd(pipeline.destination)}` : "");
        setText(this.tables, tablesSentence(pipeline));
        setText(this.lagName, lagName);
        setText(this.lag, lag);
        setHidden(this.lagLine, !lag || copy !== undefined);
        setHidden(this.copy, copy === undefined);
        if (copy !== undefined) {
            setAttribute(this.bar, "value", percent(copy.rows, copy.rows_expected));
            setText(this.left, `${percent(copy.rows, copy.rows_expected)}\u00a0%, ${copyTimeLeft(copy)}`);
        }
    }

    updateDetails(nowMs) {
        this.details.update(this.pipeline, {nowMs, points: this.owner.points(this.name), slot: this.owner.slot(this.pipeline),
                                            takesChanges: this.owner.takesChanges()});
    }

    toggle(isOpen = !this.isOpen) {
        if (isOpen !== this.isOpen) {
            this.details = isOpen ? new Details(this.name, this.owner.actions) : null;
            this.place.replaceChildren(...(isOpen ? [this.details.element] : []));
            setHidden(this.place, !isOpen);
            setAttribute(this.button, "aria-expanded", String(isOpen));
        }
        this.owner.onToggle(this);
    }

    show() {
        this.toggle(true);
        this.element.scrollIntoView({block: "nearest"});
        this.button.focus();
    }
}
