// Two texts as a difference by lines. Pure.

/** Lines around a change that are shown with it. */
const CONTEXT = 3;
/** Of the table of common lines; beyond it the middle is told as all gone and all new. */
const CELLS_MAX = 4_000_000;

/** `[{ from, lines: [{ kind: 'gone' | 'new' | '', text }] }]`; `from` counts in `before`, from 1. */
export function hunks(before, after) {
  const lines = script(before, after);
  const found = [];
  let at = 1;
  let open = null;
  let calm = 0;
  for (const [n, line] of lines.entries()) {
    if (line.kind !== '') {
      if (open === null) {
        const head = lines.slice(Math.max(0, n - CONTEXT), n).filter((one, m, all) => all.slice(m).every((other) => other.kind === ''));
        open = { from: at - head.length, lines: [...head] };
        found.push(open);
      }
      open.lines.push(line);
      calm = 0;
    } else if (open !== null) {
      open.lines.push(line);
      calm += 1;
      // Another change this near shares its context.
      if (calm === 2 * CONTEXT) {
        open.lines.splice(-CONTEXT);
        open = null;
        calm = 0;
      }
    }
    if (line.kind !== 'new') at += 1;
  }
  if (open !== null && calm > CONTEXT) open.lines.splice(CONTEXT - calm);
  return found;
}

function script(before, after) {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < before.length - head && tail < after.length - head
    && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail += 1;
  const same = (text) => ({ kind: '', text });
  return [
    ...before.slice(0, head).map(same),
    ...middle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...before.slice(before.length - tail).map(same),
  ];
}

/** By the longest common run of lines. */
function middle(before, after) {
  const [height, width] = [before.length + 1, after.length + 1];
  const gone = (text) => ({ kind: 'gone', text });
  const fresh = (text) => ({ kind: 'new', text });
  if (height * width > CELLS_MAX) return [...before.map(gone), ...after.map(fresh)];
  const common = new Uint16Array(height * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = before[i] === after[j] ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      lines.push({ kind: '', text: before[i] });
      i += 1;
      j += 1;
    } else if (j >= after.length || (i < before.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      lines.push(gone(before[i]));
      i += 1;
    } else {
      lines.push(fresh(after[j]));
      j += 1;
    }
  }
  return lines;
}
