// The status page: asks the API every five seconds and writes tables. Text is only ever set as
// text, so that no label can become markup.
'use strict';

const EVERY_MS = 5000;
const ROWS_MAX = 1000;

const byId = (id) => document.getElementById(id);

function cell(text, kind) {
  const td = document.createElement('td');
  td.textContent = text;
  if (kind) td.className = kind;
  return td;
}

function fill(table, rows) {
  byId(table).tBodies[0].replaceChildren(...rows.map((cells) => {
    const tr = document.createElement('tr');
    tr.append(...cells);
    return tr;
  }));
}

function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let n = 0;
  while (bytes >= 1024 && n < units.length - 1) { bytes /= 1024; n += 1; }
  return `${n === 0 ? bytes : bytes.toFixed(1)} ${units[n]}`;
}

function age(seconds) {
  if (seconds < 0.95) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const since = (time, now) => time.startsWith('0001-') ? 'never' : `${age((now - Date.parse(time)) / 1000)} ago`;

function targetRow(target, now) {
  const labels = Object.entries(target.labels).map(([name, value]) => `${name}="${value}"`).join(', ');
  const health = cell(target.health, target.health);
  if (target.lastError) {
    const error = document.createElement('span');
    error.className = 'error';
    error.textContent = target.lastError;
    health.append(error);
  }
  return [
    cell(target.scrapePool), cell(target.scrapeUrl), health,
    cell(since(target.lastScrape, now), 'n'), cell(age(target.lastScrapeDuration), 'n'), cell(labels, 'dim'),
  ];
}

function queueRow(queue) {
  const held = queue.lanes.find((lane) => lane.state === 'held');
  const waits = queue.lanes.some((lane) => lane.state === 'backing_off');
  const state = cell(held ? 'held' : waits ? 'waiting to try again' : 'sending', held || waits ? 'down' : 'up');
  const details = [queue.disk.fault && `disk: ${queue.disk.fault}`, (held || waits) && queue.last_answer?.text];
  for (const detail of details.filter(Boolean)) {
    const error = document.createElement('span');
    error.className = 'error';
    error.textContent = detail;
    state.append(error);
  }
  const dropped = Object.entries(queue.dropped_samples).filter(([, count]) => count > 0)
    .map(([reason, count]) => `${count} ${reason}`).join(', ');
  return [
    cell(queue.name), cell(queue.samples, 'n'), cell(size(queue.bytes), 'n'),
    cell(queue.oldest_age_seconds === null ? '–' : age(queue.oldest_age_seconds), 'n'),
    state, cell(dropped || 'none', dropped ? 'down' : 'dim'),
  ];
}

function memberRow(member, node) {
  const isOwn = member.id === node.id;
  const kind = { alive: 'up', suspect: 'down', dead: 'down', left: 'dim' }[member.state];
  const skew = isOwn ? '–' : member.clock_ahead_ms === null ? 'unknown' : `${member.clock_ahead_ms} ms`;
  const busy = member.samples_per_second;
  return [
    cell(isOwn ? `${member.name} (this one)` : member.name), cell(isOwn ? `${member.state}, ${node.standing}` : member.state, kind),
    cell(member.slots, 'n'), cell(`${(100 * member.share).toFixed(1)} %`, 'n'),
    cell(busy === null ? 'unknown' : busy.toFixed(busy < 10 ? 1 : 0), 'n'), cell(skew, 'n'),
    cell(member.zone), cell(member.api_address, 'dim'),
  ];
}

function divisionText({ division, hand_over: handOver }) {
  const { imbalance, moves, quorum } = division;
  const moved = Object.entries(moves).map(([reason, count]) => `${count} by ${reason}`).join(', ');
  return [
    `The hottest member has ${(imbalance.samples ?? imbalance.slots).toFixed(2)} × its fair share${imbalance.samples === null ? ' of slots' : ' of samples'}`,
    `slots moved: ${moved || 'none'}`,
    handOver.taking + handOver.giving > 0 &&
      `being handed over: ${handOver.taking} lines in, ${handOver.giving} out, for up to ${age(handOver.longest_wait_seconds ?? 0)}`,
    handOver.refused.length > 0 && `${handOver.refused.length + handOver.refused_unnamed} lines refused by others stay here`,
    division.on_hold && 'this member is on hold',
    quorum && !quorum.holds && `no majority: ${quorum.here} of ${quorum.base.length} are here`,
  ].filter(Boolean).join('; ');
}

function showFleet(fleet) {
  byId('warnings').hidden = fleet.warnings.length === 0;
  byId('warnings').querySelector('ul').replaceChildren(...fleet.warnings.map((warning) => {
    const item = document.createElement('li');
    const since = document.createElement('span');
    since.textContent = ` (${warning.kind}, since ${warning.since})`;
    item.append(warning.message, since);
    return item;
  }));
  // Without a cluster there is nothing to tell that is not told below.
  byId('fleet').hidden = fleet.node.cluster === null;
  byId('division').textContent = divisionText(fleet);
  fill('members', fleet.members.map((member) => memberRow(member, fleet.node)));
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(EVERY_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function show() {
  const [ready, runtime, build, targets, queues, fleet] = await Promise.all([
    fetch('-/ready', { signal: AbortSignal.timeout(EVERY_MS) }).then((answer) => answer.text()),
    ask('api/v1/status/runtimeinfo'), ask('api/v1/status/buildinfo'),
    ask('api/v1/targets?state=active'), ask('api/v1/queues'), ask('api/v1/fleet'),
  ]);
  const now = Date.parse(runtime.data.serverTime);
  byId('state').textContent =
    `${ready.trim()} ${build.data.version} on ${runtime.data.hostname}, configuration of ${runtime.data.lastConfigTime}`;

  byId('reload').hidden = runtime.data.reloadConfigSuccess;
  byId('reload').querySelector('pre').textContent = runtime.data.reloadConfigError ?? '';

  showFleet(fleet);
  fill('queues', queues.destinations.map(queueRow));

  const active = targets.data.activeTargets;
  const count = (health) => active.filter((target) => target.health === health).length;
  const more = active.length > ROWS_MAX ? `; the first ${ROWS_MAX} are shown, those that are down before the others` : '';
  byId('count').textContent = `${count('up')} up, ${count('down')} down, ${count('unknown')} not scraped yet${more}`;
  const order = { down: 0, unknown: 1, up: 2 };
  active.sort((a, b) => order[a.health] - order[b.health]);
  fill('targets', active.slice(0, ROWS_MAX).map((target) => targetRow(target, now)));
}

async function keepShowing() {
  try {
    await show();
  } catch (error) {
    byId('state').textContent = `no answer: ${error.message}; what is shown is old`;
  }
  setTimeout(keepShowing, EVERY_MS);
}

keepShowing();
