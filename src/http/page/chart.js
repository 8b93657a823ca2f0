// Lag over the last hour: a line beside a pipeline's name, and a chart with a scale in its details.
// A point is {at: ms, seconds, bytes}; where points are missing the line is interrupted.

import {make, makeSvg, setAttribute, setText} from "./dom.js";
import {bytes, clockTime, duration} from "./format.js";

const HOUR_MS = 3600e3;
const GAP_MS = 35e3;     // three times the interval between two points, and a bit
const SECONDS_MIN = 1;   // a scale's least end: a line that magnified milliseconds to full height would only alarm

// The ends a scale may have.
const ROUND_SECONDS = [1, 2, 4, 10, 20, 30, ...[1, 2, 4, 10, 20, 30].map((minutes) => minutes * 60),
                       ...[1, 2, 4, 6, 12, 24, 48, 96, 192].map((hours) => hours * 3600)];

function roundSeconds(value) {
    return ROUND_SECONDS.find((step) => step >= value) ?? Math.ceil(value / 864e3) * 864e3;
}

// below: each piece is closed down to the base line, for an area.
function linePath(points, {nowMs, width, height, top, below = false}) {
    const pieces = [];
    let piece = [], lastAt = null;
    for (const point of points) {
        if (point.at < nowMs - HOUR_MS)
            continue;
        const x = width * (1 - (nowMs - point.at) / HOUR_MS), y = height - 1 - (height - 3) * Math.min(point.seconds / top, 1);
        if (lastAt !== null && point.at - lastAt > GAP_MS) {
            pieces.push(piece);
            piece = [];
        }
        piece.push([x.toFixed(1), y.toFixed(1)]);
        lastAt = point.at;
    }
    pieces.push(piece);
    return pieces.filter((one) => one.length > 0).map((one) => {
        const line = one.length > 1 ? one : [one[0], [(Number(one[0][0]) + 1).toFixed(1), one[0][1]]];
        const text = `M${line.map((xy) => xy.join(" ")).join("L")}`;
        return below ? `${text}L${line.at(-1)[0]} ${height}L${line[0][0]} ${height}Z` : text;
    }).join("");
}

function highest(points) {
    return points.reduce((most, point) => Math.max(most, point.seconds), 0);
}

export class Sparkline {
    static width = 120;
    static height = 24;

    constructor() {
        this.line = makeSvg("path", {class: "line"});
        this.element = makeSvg("svg", {class: "spark", viewBox: `0 0 ${Sparkline.width} ${Sparkline.height}`,
                                       preserveAspectRatio: "none", "aria-hidden": "true"}, this.line);
    }

    draw(points, nowMs) {
        const top = Math.max(highest(points) * 1.05, SECONDS_MIN);
        setAttribute(this.line, "d", linePath(points, {nowMs, width: Sparkline.width, height: Sparkline.height, top}));
    }
}

export class LagChart {
    static width = 600;
    static height = 120;

    constructor(name) {
        const {width, height} = LagChart;
        this.name = name;
        this.points = [];
        this.chosen = -1;  // the point that is read out; -1: none
        this.area = makeSvg("path", {class: "area"});
        this.line = makeSvg("path", {class: "line"});
        this.cursor = makeSvg("line", {class: "cursor", y1: 0, y2: height, x1: -1, x2: -1});
        this.svg = makeSvg("svg", {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true"},
            makeSvg("path", {class: "grid", d: `M0 1H${width}M0 ${height / 2}H${width}M0 ${height - 1}H${width}`}),
            this.area, this.line, this.cursor);
        this.top = make("span", {class: "scale top"});
        this.middle = make("span", {class: "scale middle"});
        this.plot = make("div", {class: "plot", tabindex: "0", role: "img", onpointermove: (event) => this.onPointer(event),
                                 onpointerleave: () => this.choose(-1), onkeydown: (event) => this.onKey(event),
                                 onblur: () => this.choose(-1)},
            this.svg, this.top, this.middle, make("span", {class: "scale bottom"}, "0"));
        this.readout = make("p", {class: "readout"});
        this.element = make("figure", {class: "chart"},
            make("figcaption", {}, make("h4", {}, "Lag over the last hour"), this.readout), this.plot,
            make("p", {class: "axis", "aria-hidden": "true"}, make("span", {}, "60 min ago"), make("span", {}, "30 min"), make("span", {}, "now")));
    }

    draw(points, nowMs) {
        const {width, height} = LagChart;
        this.points = points.filter((point) => point.at >= nowMs - HOUR_MS);
        this.nowMs = nowMs;
        const most = highest(this.points), top = roundSeconds(Math.max(most, SECONDS_MIN));
        setAttribute(this.line, "d", linePath(this.points, {nowMs, width, height, top}));
        setAttribute(this.area, "d", linePath(this.points, {nowMs, width, height, top, below: true}));
        setText(this.top, duration(top));
        setText(this.middle, duration(top / 2));
        this.summary = this.points.length === 0 ? "No point yet, one is kept every 10 seconds"
            : `Highest ${duration(most)}`;
        setAttribute(this.plot, "aria-label", `Lag of ${this.name} over the last hour. ${this.summary}. Arrow keys read single points.`);
        if (this.chosen >= this.points.length)
            this.chosen = -1;
        this.read();
    }

    read() {
        const point = this.points[this.chosen];
        if (point === undefined) {
            setText(this.readout, this.summary);
            setAttribute(this.cursor, "x1", -1);
            setAttribute(this.cursor, "x2", -1);
            return;
        }
        const x = (LagChart.width * (1 - (this.nowMs - point.at) / HOUR_MS)).toFixed(1);
        setAttribute(this.cursor, "x1", x);
        setAttribute(this.cursor, "x2", x);
        setText(this.readout, `${clockTime(point.at)}: ${duration(point.seconds)}, ${bytes(point.bytes)} of WAL`);
    }

    choose(index) {
        this.chosen = index;
        if (this.nowMs !== undefined)
            this.read();
    }

    onPointer(event) {
        if (this.points.length === 0)
            return;
        const box = this.svg.getBoundingClientRect();
        const at = this.nowMs - HOUR_MS * (1 - (event.clientX - box.left) / box.width);
        let nearest = 0;
        this.points.forEach((point, index) => {
            if (Math.abs(point.at - at) < Math.abs(this.points[nearest].at - at))
                nearest = index;
        });
        this.choose(nearest);
    }

    onKey(event) {
        const last = this.points.length - 1;
        const from = this.chosen < 0 ? last + 1 : this.chosen;
        const to = {ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last}[event.key];
        if (to === undefined || last < 0)
            return;
        event.preventDefault();
        this.choose(Math.min(Math.max(to, 0), last));
    }
}
