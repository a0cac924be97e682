// Compares what the stream sent with what the server counted. Counts are complete; of many events a second the stream sends some.

/** Events the stream sends a second at most, whatever the filter. */
export const SAMPLE = 20;

export class Tally {
    /** Events of the stream since the last count. */
    #heard = 0;
    /** Total of the last count; null before the first one. @type {number | null} */
    #total = null;
    /** Events that were counted and have not been sent. */
    #behind = 0;

    /** Notes an event of the stream. */
    hear() {
        this.#heard += 1;
    }

    /** Forgets the last count: nobody knows what came while there was no stream. */
    reset() {
        this.#total = null;
        this.#heard = this.#behind = 0;
    }

    /** Takes a count, and returns how many events the stream left out: it may send just now what was counted a moment ago.
     * @param {number} total @param {number} rate Events of the last second. */
    count(total, rate) {
        const came = this.#total === null ? rate : Math.max(0, total - this.#total);
        const before = this.#behind;
        const behind = Math.max(0, before + came - this.#heard);
        this.#total = total;
        this.#heard = 0;
        const lost = Math.max(Math.min(before, behind), behind - SAMPLE);
        this.#behind = behind - lost;
        return lost;
    }

    /** Whether the stream has sent all that was counted, but for what was left out. */
    get even() {
        return this.#behind === 0;
    }
}
