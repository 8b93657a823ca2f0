// The points of the last hour of those pipelines that can be seen. They are asked for once, one pipeline at a time, and then
// continued from the status that is polled anyway; now and then they are asked for again, as a page that slept has gaps.

import {get} from "./api.js";

const HOUR_MS = 3600e3, POINT_MS = 10e3, REFRESH_MS = 120e3;

export class Histories {
    constructor(onPoints) {
        this.onPoints = onPoints;  // (name)
        this.known = new Map();    // name → {points, askedMs}
        this.queue = [];
        this.isAsking = false;
    }

    points(name) {
        return this.known.get(name)?.points ?? [];
    }

    forgetAllBut(names) {
        for (const name of this.known.keys())
            if (!names.has(name))
                this.known.delete(name);
    }

    // At every answer, for each pipeline that can be seen.
    continue(name, lag, nowMs) {
        let one = this.known.get(name);
        if (one === undefined) {
            one = {points: [], askedMs: -Infinity};
            this.known.set(name, one);
        }
        if (performance.now() - one.askedMs > REFRESH_MS && !this.queue.includes(name)) {
            one.askedMs = performance.now();
            this.queue.push(name);
            this.askNext();
        }
        if (Number.isFinite(lag?.seconds) && nowMs - (one.points.at(-1)?.at ?? 0) >= POINT_MS) {
            one.points.push({at: nowMs, seconds: lag.seconds, bytes: lag.bytes});
            while (one.points[0].at < nowMs - HOUR_MS)
                one.points.shift();
        }
    }

    async askNext() {
        if (this.isAsking)
            return;
        this.isAsking = true;
        while (this.queue.length > 0) {
            const name = this.queue.shift();
            try {
                const {value} = await get(`api/v1/pipelines/${encodeURIComponent(name)}/history`);
                const one = this.known.get(name);
                if (one !== undefined) {
                    one.points = value.points.map((point) => ({at: Date.parse(point.at), seconds: point.lag_seconds, bytes: point.lag_bytes}));
                    this.onPoints(name);
                }
            } catch { /* what cannot be had now is asked for again later; that nothing answers is shown by the status */ }
        }
        this.isAsking = false;
    }
}
