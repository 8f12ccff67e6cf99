/**
 * The page's style sheet, plots included. Series colours keep a contrast of at least 3:1 with the
 * background in both schemes.
 */
export const STYLE = `
:root {
  color-scheme: light dark;
  --bg: #fff;
  --soft: #f5f4f0;
  --line: #dedbd3;
  --text: #1d1c1a;
  --dim: #6a665e;
  --good: #1a7f4b;
  --bad: #b3372f;
  --c0: #1f5fd1;
  --c1: #c2570c;
  --c2: #12806a;
  --c3: #8a3fb5;
  --c4: #a8790a;
  --c5: #5d6470;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #171614;
    --soft: #22211e;
    --line: #3b3833;
    --text: #ecebe7;
    --dim: #a39e94;
    --good: #5cc98f;
    --bad: #f0857c;
    --c0: #82aeff;
    --c1: #ff9a57;
    --c2: #4fcfb2;
    --c3: #cf9bef;
    --c4: #e3b94f;
    --c5: #aab2bf;
  }
}
* {
  box-sizing: border-box;
}
body {
  margin: 0 auto;
  max-width: 1200px;
  padding: 24px 20px 40px;
  background: var(--bg);
  color: var(--text);
  font:
    15px/1.5 system-ui,
    -apple-system,
    "Segoe UI",
    Roboto,
    sans-serif;
}
h1 {
  font-size: 26px;
  line-height: 1.2;
  margin: 0 0 12px;
  overflow-wrap: anywhere;
}
h2 {
  font-size: 19px;
  margin: 36px 0 12px;
}
h3 {
  font-size: 15px;
  margin: 20px 0 6px;
}
p {
  margin: 6px 0;
}
.note,
footer {
  color: var(--dim);
  font-size: 13px;
  max-width: 90ch;
}
footer {
  margin-top: 40px;
}
dl {
  display: flex;
  flex-wrap: wrap;
  gap: 6px 28px;
  margin: 0 0 14px;
}
dt {
  color: var(--dim);
  font-size: 12px;
}
dd {
  margin: 0;
  overflow-wrap: anywhere;
}
pre {
  margin: 0;
  padding: 10px 12px;
  background: var(--soft);
  border-radius: 6px;
  font:
    13px/1.45 ui-monospace,
    SFMono-Regular,
    Menlo,
    Consolas,
    monospace;
  white-space: pre-wrap;
  overflow-wrap: anywhere;
}
aside {
  border-left: 3px solid var(--c1);
  background: var(--soft);
  padding: 6px 14px;
  margin: 20px 0 0;
}
.scroll {
  overflow-x: auto;
}
table {
  border-collapse: collapse;
  width: 100%;
  font-variant-numeric: tabular-nums;
}
small {
  color: var(--dim);
  font-size: 12px;
  font-weight: normal;
}
th,
td {
  padding: 8px 12px;
  text-align: right;
  border-bottom: 1px solid var(--line);
  white-space: nowrap;
  vertical-align: top;
}
thead th {
  font-size: 13px;
  vertical-align: bottom;
}
th small,
td small {
  display: block;
}
th:first-child {
  text-align: left;
  padding-left: 0;
}
tbody th {
  min-width: 14ch;
  white-space: normal;
  overflow-wrap: anywhere;
}
.keys td {
  white-space: normal;
  overflow-wrap: anywhere;
}
tbody th {
  font-weight: 600;
}
.charts {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr));
  gap: 28px 32px;
}
figure {
  margin: 0;
  display: flex;
  flex-direction: column;
  justify-content: space-between;
}
figcaption h3 {
  margin: 0;
}
figcaption p {
  color: var(--dim);
  font-size: 13px;
  margin: 2px 0 4px;
}
.legend {
  display: flex;
  flex-wrap: wrap;
  gap: 2px 16px;
  list-style: none;
  margin: 0;
  padding: 0;
  font-size: 13px;
}
.legend li {
  min-width: 0;
  overflow-wrap: anywhere;
}
.legend li::before {
  content: "";
  display: inline-block;
  width: 14px;
  height: 3px;
  margin: 0 6px 3px 0;
  background: var(--c);
}
svg {
  width: 100%;
  height: auto;
  display: block;
}
.grid {
  stroke: var(--line);
  stroke-width: 1;
}
.axis {
  stroke: var(--dim);
  stroke-width: 1;
}
.tick {
  fill: var(--dim);
  font-size: 12px;
}
.line {
  fill: none;
  stroke: var(--c);
  stroke-width: 2;
  stroke-linejoin: round;
}
.interval {
  stroke: var(--c);
  stroke-width: 2;
  opacity: 0.45;
}
circle {
  fill: var(--c);
  stroke: var(--bg);
  stroke-width: 1.5;
}
.s0 {
  --c: var(--c0);
}
.s1 {
  --c: var(--c1);
}
.s2 {
  --c: var(--c2);
}
.s3 {
  --c: var(--c3);
}
.s4 {
  --c: var(--c4);
}
.s5 {
  --c: var(--c5);
}
details {
  border: 1px solid var(--line);
  border-radius: 6px;
  margin: 8px 0;
  padding: 0 14px;
}
details[open] {
  padding-bottom: 12px;
}
summary {
  cursor: pointer;
  display: flex;
  gap: 16px;
  justify-content: space-between;
  padding: 9px 0;
}
summary span {
  overflow-wrap: anywhere;
  min-width: 0;
}
summary b {
  white-space: nowrap;
  font-variant-numeric: tabular-nums;
}
ol {
  list-style: none;
  margin: 0;
  padding: 0;
}
ol li {
  margin-top: 12px;
  padding-left: 12px;
  border-left: 3px solid var(--line);
}
.is-chosen {
  border-color: var(--good);
}
.is-rejected {
  border-color: var(--bad);
}
.tags {
  font-size: 13px;
  color: var(--dim);
  font-variant-numeric: tabular-nums;
}
.tags b {
  color: var(--text);
}
.tags i {
  opacity: 0.5;
}
.chosen,
.right {
  color: var(--good);
  font-weight: 600;
}
.rejected,
.wrong {
  color: var(--bad);
  font-weight: 600;
}
rect {
  fill: var(--c);
}
.find {
  display: flex;
  flex-wrap: wrap;
  gap: 8px;
  align-items: baseline;
}
.find[hidden] {
  display: none;
}
.find input {
  flex: 1 1 220px;
}
.find input,
.find select,
button {
  font: inherit;
  color: inherit;
  background: var(--bg);
  border: 1px solid var(--line);
  border-radius: 6px;
  padding: 5px 10px;
}
.find output:empty {
  display: none;
}
.find output {
  color: var(--dim);
}
@media (max-width: 700px) {
  body {
    padding: 16px 12px 32px;
  }
  thead {
    display: none;
  }
  tr {
    display: block;
    border-bottom: 1px solid var(--line);
    padding: 8px 0;
  }
  tbody th,
  td {
    display: flex;
    justify-content: space-between;
    gap: 16px;
    border: 0;
    padding: 2px 0;
    white-space: normal;
  }
  td div {
    text-align: right;
  }
  td::before {
    content: attr(data-head);
    color: var(--dim);
    font-size: 13px;
    text-align: left;
  }
}
.recipe {
  max-height: 60vh;
  overflow: auto;
}
@media print {
  details > * {
    display: block;
  }
  .recipe {
    max-height: none;
  }
}
`;
