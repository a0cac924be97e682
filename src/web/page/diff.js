// What changed between two texts, line by line, as people know it from patches.

/** Lines around a change. */
const AROUND = 3;
/** Past so many cells the search for the smallest change would take long; then the middle is one change. */
const MOST = 4_000_000;

/** The hunks: `{from, to, lines: [{sign, text}]}`; `from` and `to` are the first lines before and after, counted from 1.
 * @param {string} before @param {string} after @returns {Hunk[]} */
export function unified(before, after) {
    const all = changes(before.split("\n"), after.split("\n"));
    /** @type {{ from: number, to: number, lines: typeof all }[]} */
    const hunks = [];
    /** @type {typeof hunks[number] | null} */
    let hunk = null;
    let quiet = 0;
    let end = 0;
    for (const [at, line] of all.entries()) {
        if (line.sign !== " ") {
            if (!hunk) {
                const start = Math.max(end, at - AROUND);
                hunk = { from: all[start].from, to: all[start].to, lines: all.slice(start, at) };
                hunks.push(hunk);
            }
            hunk.lines.push(...all.slice(at - quiet, at), line);
            quiet = 0;
        } else if (hunk) {
            quiet += 1;
            if (quiet > 2 * AROUND) {
                hunk.lines.push(...all.slice(at - quiet + 1, at - quiet + 1 + AROUND));
                end = at - quiet + 1 + AROUND;
                hunk = null;
                quiet = 0;
            }
        }
    }
    if (hunk) hunk.lines.push(...all.slice(all.length - quiet, all.length - quiet + Math.min(quiet, AROUND)));
    return hunks.map(({ from, to, lines }) => ({ from, to, lines: lines.map(({ sign, text }) => ({ sign, text })) }));
}

/** Every line of both texts, in order, with where it stands in each. @param {string[]} a @param {string[]} b */
function changes(a, b) {
    let head = 0;
    while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
    let tail = 0;
    while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
    const signs = [
        ...Array(head).fill(" "),
        ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
        ...Array(tail).fill(" "),
    ];
    let from = 0;
    let to = 0;
    return signs.map((sign) => {
        const line = { sign, text: sign === "+" ? b[to] : a[from], from: from + 1, to: to + 1 };
        if (sign !== "+") from += 1;
        if (sign !== "-") to += 1;
        return line;
    });
}

/** The signs of the smallest change from one list to the other: by the longest they have in common. @param {string[]} a @param {string[]} b */
function middle(a, b) {
    const wide = b.length + 1;
    if ((a.length + 1) * wide > MOST) return [...a.map(() => "-"), ...b.map(() => "+")];
    const common = new Uint32Array((a.length + 1) * wide);
    for (let i = a.length - 1; i >= 0; i -= 1) {
        for (let j = b.length - 1; j >= 0; j -= 1) {
            common[i * wide + j] = a[i] === b[j]
                ? common[(i + 1) * wide + j + 1] + 1
                : Math.max(common[(i + 1) * wide + j], common[i * wide + j + 1]);
        }
    }
    const signs = [];
    let i = 0;
    let j = 0;
    while (i < a.length || j < b.length) {
        if (i < a.length && j < b.length && a[i] === b[j]) {
            signs.push(" ");
            i += 1;
            j += 1;
        } else if (j >= b.length || (i < a.length && common[(i + 1) * wide + j] >= common[i * wide + j + 1])) {
            signs.push("-");
            i += 1;
        } else {
            signs.push("+");
            j += 1;
        }
    }
    return signs;
}
