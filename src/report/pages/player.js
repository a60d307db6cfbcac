// The player: shows a counterexample step by step, with the state after each step.
//
// The trace (report/json.cc writes it) has the initial value of every variable and the effects of every step.
// The state after step n is folded from them each time, so stepping back needs no undo. Step 0 is the initial
// state. The address's #step-N and the page always agree; rows have other ids, so that the browser does not scroll
// by itself.
'use strict';

const trace = JSON.parse(document.getElementById('trace').textContent);
const steps = trace.steps;
const violating = steps.findLastIndex(s => s.mark === 'violating') + 1 || steps.length;
let here = 0;

const byId = id => document.getElementById(id);

/** An element with a class and children: elements, or text. */
function el(tag, cls, ...children) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  for (const c of children) if (c !== null && c !== undefined && c !== '') e.append(c);
  return e;
}

const cpuOf = column => trace.columns[column].split(' ')[0];

// ---- the state -----------------------------------------------------------------------------------------

/** The state after step n, and what step n itself did. */
function stateAfter(n) {
  const state = {
    values: trace.variables.map(v => v.initial),
    cpus: trace.columns.map(() => ({tlb: new Map(), sections: []})),
    freed: new Map(),
    read: new Map(),
    written: new Map(),
    cached: new Set(),
    dropped: [],
  };
  for (let i = 1; i <= n; i++)
    for (const e of steps[i - 1].effects) apply(state, e, i, i === n);
  return state;
}

function apply(state, e, step, now) {
  switch (e.kind) {
    case 'reads':
      if (now) state.read.set(e.variable, e);
      break;
    case 'writes':
      if (now) state.written.set(e.variable, state.values[e.variable]);
      state.values[e.variable] = e.value;
      break;
    case 'caches':
      state.cpus[e.column].tlb.set(e.name, e);
      if (now) state.cached.add(e);
      break;
    case 'drops': {
      const tlb = state.cpus[e.column].tlb;
      if (now) state.dropped.push({...tlb.get(e.name), column: e.column});
      tlb.delete(e.name);
      break;
    }
    case 'enters':
      state.cpus[e.column].sections.push(e.name);
      break;
    case 'leaves':
      state.cpus[e.column].sections = state.cpus[e.column].sections.filter(s => s !== e.name);
      break;
    case 'frees':
      state.freed.set(e.name, step);
      break;
  }
}

const indexed = trace.variables.map((v, index) => ({...v, index}));
const ofKind = kind => indexed.filter(v => v.kind === kind);
const byNumber = new Intl.Collator('en', {numeric: true});
const inOrder = list => list.sort((a, b) => byNumber.compare(a.field, b.field));

/** Variables of some kinds, grouped by the object they belong to. */
function objects(...kinds) {
  const groups = new Map();
  for (const v of indexed.filter(v => kinds.includes(v.kind))) {
    if (!groups.has(v.object)) groups.set(v.object, []);
    groups.get(v.object).push(v);
  }
  for (const list of groups.values()) inOrder(list);
  return groups;
}

const tables = objects('entry');
const pages = objects('page');
const hooked = new Set(ofKind('entry').map(v => v.initial.target));
const roots = [...tables.keys()].filter(t => !hooked.has(t));

/** What marks a variable in the picture of step n: read, written, or neither. */
function marks(state, index) {
  return (state.read.has(index) ? ' read' : '') + (state.written.has(index) ? ' written' : '');
}

/** The value of a variable, with what it was before this step and what a stale read took it for. */
function valueParts(state, v) {
  const value = state.values[v.index];
  if (!v.followed) {
    const quiet = el('span', 'aside', '\u2013');
    quiet.title = 'only one CPU uses it; not followed';
    return [quiet];
  }
  const parts = [];
  const old = state.written.get(v.index);
  if (old && old.text !== value.text) parts.push(el('span', 'old', old.text));
  parts.push(el('span', 'value', value.text));
  if (value.detail) parts.push(el('span', 'detail', value.detail));
  const read = state.read.get(v.index);
  if (read && read.missed) parts.push(el('span', 'saw', `${cpuOf(steps[here - 1].column)} saw ${read.value.text}`));
  return parts;
}

const line = (state, v, name) =>
  el('div', 'line' + marks(state, v.index), el('span', 'name', name), ...valueParts(state, v));

// ---- the picture of the state ----------------------------------------------------------------------------

function tlbLine(state, entry) {
  const v = trace.variables[entry.variable];
  const now = state.values[entry.variable];
  const outdated = now.text !== entry.value.text;
  const [va] = entry.name.split(' ');
  const e = el('div', 'line' + (state.cached.has(entry) ? ' written' : outdated ? ' outdated' : ''),
               el('span', 'name', `${va} ${v.field}`), el('span', 'value', entry.value.text));
  if (outdated) e.append(el('span', 'saw', `stale: now ${now.text}`));
  return e;
}

function cpuBox(state, column) {
  const cpu = state.cpus[column];
  const box = el('div', here && steps[here - 1].column === column ? 'here' : '', el('h3', '', trace.columns[column]));
  for (const s of cpu.sections) box.append(el('div', 'line held', s));
  const own = indexed.filter(v => v.kind === 'cpu' && v.object.toUpperCase() === cpuOf(column));
  for (const v of own) box.append(line(state, v, v.field));
  const dropped = state.dropped.filter(e => e.column === column);
  if (cpu.tlb.size || dropped.length) box.append(el('h4', '', 'TLB'));
  for (const entry of cpu.tlb.values()) box.append(tlbLine(state, entry));
  for (const e of dropped)
    box.append(el('div', 'line gone', el('span', 'name', e.name), el('span', 'value', e.value.text), el('span', 'aside', 'dropped')));
  return box;
}

/** A page table and the tables that hang from it; `shown` collects their names. */
function tableBox(state, object, shown) {
  shown.add(object);
  const freed = state.freed.get(object);
  const box = el('div', 'table' + (freed ? ' freed' : ''));
  box.append(el('div', 'title', object, freed ? el('span', 'freed-mark', ` freed at step ${freed}`) : ''));
  for (const v of tables.get(object)) {
    box.append(line(state, v, v.field));
    const target = state.values[v.index].target;
    if (target && tables.has(target) && !shown.has(target)) box.append(tableBox(state, target, shown));
  }
  return box;
}

function treeOf(state) {
  const shown = new Set();
  const tree = el('div', 'tree');
  for (const root of roots) tree.append(tableBox(state, root, shown));
  for (const object of tables.keys()) {
    if (shown.has(object)) continue;
    const box = tableBox(state, object, shown);
    if (!state.freed.has(object)) {
      box.classList.add('unhooked');
      box.firstChild.append(el('span', 'saw', ' unhooked'));
    }
    tree.append(box);
  }
  return tree;
}

/** One row a page, one column a field of its struct page. */
function pageTable(state) {
  const fields = [];
  for (const name of ['flags', 'refcount', 'mapcount', 'pincount', 'entire_mapcount']) fields.push(name);
  for (const v of ofKind('page')) if (!fields.includes(v.field)) fields.push(v.field);
  const used = fields.filter(f => ofKind('page').some(v => v.field === f));
  const table = el('table', 'pages', el('tr', '', el('th', ''), ...used.map(f => el('th', '', f))));
  for (const [object, own] of pages) {
    const freed = state.freed.get(object);
    const row = el('tr', '', el('th', '', object, freed ? el('span', 'freed-mark', ` freed at step ${freed}`) : ''));
    for (const f of used) {
      const v = own.find(v => v.field === f);
      row.append(v ? el('td', marks(state, v.index).trim(), ...valueParts(state, v)) : el('td', ''));
    }
    table.append(row);
  }
  return table;
}

function listOf(state, variables, nameOf) {
  const list = el('div', '');
  for (const v of variables) list.append(line(state, v, nameOf(v)));
  return list;
}

function drawState(n) {
  const state = stateAfter(n);
  const panel = byId('state');
  const parts = [];
  const section = (title, content) => parts.push(el('h2', '', title), content);

  parts.push(el('p', 'now', n ? `after step ${n}: ${cpuOf(steps[n - 1].column)} ${steps[n - 1].text.trim()}` : 'before the first step'));
  if (n >= violating) {
    const verdict = el('p', '', el('b', '', trace.property), ' is broken: ', trace.lost);
    verdict.id = 'verdict';
    parts.push(verdict);
  }
  const cpus = el('div', 'cpus');
  trace.columns.forEach((_, column) => cpus.append(cpuBox(state, column)));
  section('CPUs', cpus);
  if (tables.size) section('page tables', treeOf(state));
  if (pages.size) section('pages', pageTable(state));
  const byName = list => list.sort((a, b) => byNumber.compare(a.name, b.name));
  const locks = byName(ofKind('lock'));
  if (locks.length) section('locks', listOf(state, locks, v => v.name));
  const memory = byName(ofKind('memory'));
  if (memory.length) section('memory', listOf(state, memory, v => v.name));
  const times = new Map(); // variables that share a name, as messages do, are shown while they are used
  for (const v of indexed) times.set(v.name, (times.get(v.name) || 0) + 1);
  const worthALine = v => times.get(v.name) === 1 || state.read.has(v.index) || state.written.has(v.index);
  const known = new Set(trace.columns.map((_, c) => cpuOf(c).toLowerCase()));
  const rest = byName(indexed.filter(v => v.kind === 'mm' || (v.kind === 'other' && worthALine(v)) ||
                                          (v.kind === 'cpu' && !known.has(v.object))));
  if (rest.length) section('other variables', listOf(state, rest, v => v.name));
  panel.replaceChildren(...parts);
}

// ---- time ------------------------------------------------------------------------------------------------

function rowOf(number, column, cell, cls) {
  const link = el('a', 'number', number ? String(number) : '0');
  link.href = `#step-${number}`;
  const row = el('div', 'row' + cls, link, cell);
  row.id = `row-${number}`;
  row.style.setProperty('--column', column);
  row.addEventListener('click', event => {
    if (event.target !== link) show(number);
  });
  return row;
}

function drawTime() {
  const time = byId('time');
  time.style.setProperty('--columns', trace.columns.length);
  time.append(el('div', 'heads', el('span', ''), ...trace.columns.map(c => el('span', '', c))));
  time.append(rowOf(0, 0, el('div', 'cell', 'initial state'), ' start'));
  const functionIn = [];
  let before = -1;
  for (const s of steps) {
    const cell = el('div', 'cell');
    const turn = s.column !== before;
    if (s.function && (functionIn[s.column] !== s.function || turn)) {
      const name = el('span', 'function', el('span', 'cpu', turn ? `${cpuOf(s.column)} ` : ''), `${s.function}()`);
      cell.append(name);
    }
    functionIn[s.column] = s.function;
    before = s.column;
    const where = s.file ? `${s.file.split('/').pop()}:${s.line}` : '';
    cell.append(el('span', 'act', el('span', '', s.text), el('span', 'where', where)));
    if (s.note) cell.append(el('span', 'note', '\u2190 ' + s.note));
    time.append(rowOf(s.number, s.column, cell, s.mark === 'none' ? '' : ` ${s.mark}`));
  }
  if (steps.some(s => s.effects.some(e => e.missed)))
    time.append(el('p', 'key', el('i', ''), 'where a stale value came from', el('i', 'missed'), 'the newer write that was missed'));
}

const SVG = 'http://www.w3.org/2000/svg';

function svg(tag, attributes, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

/** Where an arrow starts or ends: the left edge of a step's text, in the coordinates of the overlay. */
function anchor(number, origin) {
  const box = (byId(`row-${number}`).querySelector('.act') || byId(`row-${number}`).querySelector('.cell')).getBoundingClientRect();
  return {x: box.left - origin.left + 12, y: box.top - origin.top + Math.min(box.height, 18) / 2};
}

function arrow(from, to, cls) {
  const bend = Math.min(26, 10 + Math.abs(to.y - from.y) / 12);
  const d = Math.abs(to.x - from.x) < 40
    ? `M${from.x},${from.y} C${from.x - bend},${from.y} ${to.x - bend},${to.y} ${to.x - 2},${to.y}`
    : `M${from.x},${from.y} C${from.x - bend},${(from.y + to.y) / 2} ${to.x - bend},${(from.y + to.y) / 2} ${to.x - 2},${to.y}`;
  return svg('path', {d, class: cls, 'marker-end': `url(#head${cls.includes('missed') ? '-missed' : ''})`});
}

/** Arrows to each stale read: from the write that it read, and from the newer one that it missed. */
function drawArrows() {
  const time = byId('time');
  byId('arrows')?.remove();
  const head = (id, cls) => svg('marker', {id, class: cls, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: 'auto'},
                                svg('path', {d: 'M0,0 L8,4 L0,8 z'}));
  const frame = time.getBoundingClientRect();
  const origin = {left: frame.left, top: frame.top - time.scrollTop};
  const overlay = svg('svg', {id: 'arrows', width: time.clientWidth, height: 1, 'aria-hidden': 'true'},
                      svg('defs', {}, head('head', ''), head('head-missed', 'missed')));
  for (const s of steps)
    for (const e of s.effects.filter(e => e.kind === 'reads' && e.missed)) {
      const later = s.number > here ? ' later' : '';
      const to = anchor(s.number, origin);
      overlay.append(arrow(anchor(e.source, origin), to, 'source' + later), arrow(anchor(e.missed, origin), to, 'missed' + later));
    }
  time.append(overlay);
}

// ---- stepping --------------------------------------------------------------------------------------------

/** The step that the address names; the initial state if it names none. */
function fromAddress() {
  const named = /^#step-(\d+)$/.exec(location.hash);
  return named ? Math.min(Number(named[1]), steps.length) : 0;
}

function show(n, replaceAddress = true) {
  here = Math.max(0, Math.min(n, steps.length));
  for (let i = 0; i <= steps.length; i++) {
    const row = byId(`row-${i}`);
    row.classList.toggle('here', i === here);
    row.classList.toggle('later', i > here);
    i === here ? row.setAttribute('aria-current', 'step') : row.removeAttribute('aria-current');
  }
  byId('position').textContent = `${here} / ${steps.length}`;
  byId('first').disabled = byId('back').disabled = here === 0;
  byId('last').disabled = byId('forward').disabled = here === steps.length;
  if (replaceAddress && location.hash !== `#step-${here}`) history.replaceState(null, '', `#step-${here}`);
  drawState(here);
  drawArrows();
  keepInView(byId(`row-${here}`));
}

/** Scrolls the steps, not the page, so that a row and its neighbours are seen. */
function keepInView(row) {
  const time = byId('time');
  const margin = 60;
  const top = row.offsetTop - margin;
  const bottom = row.offsetTop + row.offsetHeight + margin;
  if (top < time.scrollTop) time.scrollTop = top;
  else if (bottom > time.scrollTop + time.clientHeight) time.scrollTop = bottom - time.clientHeight;
}

const keys = {
  ArrowRight: () => here + 1,
  ArrowDown: () => here + 1,
  ArrowLeft: () => here - 1,
  ArrowUp: () => here - 1,
  Home: () => 0,
  End: () => steps.length,
};

drawTime();
byId('first').addEventListener('click', () => show(0));
byId('back').addEventListener('click', () => show(here - 1));
byId('forward').addEventListener('click', () => show(here + 1));
byId('last').addEventListener('click', () => show(steps.length));
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
  event.preventDefault();
  show(keys[event.key]());
});
window.addEventListener('hashchange', () => show(fromAddress(), false));
new ResizeObserver(drawArrows).observe(byId('time'));
show(fromAddress(), location.hash !== '');
