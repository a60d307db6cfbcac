#include "report/dot.h"

#include <algorithm>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/html.h"

namespace racewalk::report {
namespace {

constexpr std::string_view head = R"(
  graph [fontname="monospace", fontsize=11, labelloc=t, labeljust=l, ranksep=0.25, nodesep=0.35];
  node [fontname="monospace", fontsize=10, shape=box, margin="0.08,0.03", color="gray70"];
  edge [fontname="monospace", fontsize=9, arrowsize=0.6];
)";

/// A quoted string: one line, or lines that end with \l, which sets them flush left.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : one_line(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string lines_quoted(const std::vector<std::string>& lines) {
  std::string out = "\"";
  for (const std::string& line : lines) {
    const std::string one = quoted(line);
    out += one.substr(1, one.size() - 2) + "\\l";
  }
  return out + '"';
}

std::string node_of(unsigned step) { return step ? fmt::format("s{}", step) : "init"; }

std::string node_line(const trace_step& s) {
  std::vector<std::string> lines{fmt::format("{}  {}", s.number, s.text)};
  if (!s.function.empty())
    lines.push_back(fmt::format("   {}() {}:{}", s.function, s.file.substr(s.file.rfind('/') + 1), s.line));
  std::string look;
  if (s.mark == step_mark::stale) look = ", color=\"darkorange\", penwidth=2";
  if (s.mark == step_mark::violating) look = ", color=\"red3\", penwidth=2";
  return fmt::format("    {} [label={}{}];\n", node_of(s.number), lines_quoted(lines), look);
}

/// One column: its steps from top to bottom, in program order.
std::string cluster(const race_trace& t, std::size_t column) {
  std::string nodes;
  std::string order;
  unsigned before = 0;
  for (const trace_step& s : t.steps) {
    if (s.column != column) continue;
    nodes += node_line(s);
    if (before)
      order += fmt::format("    {} -> {} [class=\"po\", weight=8];\n", node_of(before), node_of(s.number));
    before = s.number;
  }
  return fmt::format("  subgraph cluster_{} {{\n    label={}; color=\"gray85\";\n{}{}  }}\n", column,
                     quoted(t.columns[column]), nodes, order);
}

std::string edge(unsigned from, unsigned to, std::string_view kind, std::string_view look) {
  return fmt::format("  {} -> {} [class=\"{}\", label=\"{}\", constraint=false, {}];\n", node_of(from),
                     node_of(to), kind, kind, look);
}

/// The step whose write replaces the value of `variable` that `source` wrote; 0: none does.
unsigned overwriter(const race_trace& t, unsigned variable, unsigned source) {
  for (const trace_step& s : t.steps)
    for (const trace_effect& e : s.effects)
      if (e.kind == effect_kind::writes && e.variable == variable && e.source == source) return s.number;
  return 0;
}

std::string edges_of(const race_trace& t, const trace_step& s, const trace_effect& e) {
  constexpr std::string_view fresh = "color=\"green4\", fontcolor=\"green4\"";
  constexpr std::string_view unwritten = "color=\"gray75\", fontcolor=\"gray60\"";
  constexpr std::string_view stale = "color=\"darkorange\", fontcolor=\"darkorange\", penwidth=2";
  if (e.kind == effect_kind::writes)
    return e.source ? edge(e.source, s.number, "co", "color=\"brown\", fontcolor=\"brown\"") : "";
  if (e.kind != effect_kind::reads) return "";
  const std::string_view look = e.missed ? stale : e.source ? fresh : unwritten;
  std::string out = edge(e.source, s.number, "rf", look);
  const unsigned next = overwriter(t, e.variable, e.source);
  if (next && next != s.number)
    out += edge(s.number, next, "fr", "color=\"blue3\", fontcolor=\"blue3\", style=dashed");
  return out;
}

} // namespace

std::string dot_graph(const result& r) {
  const race_trace& t = *r.trace;
  std::string edges;
  for (const trace_step& s : t.steps)
    for (const trace_effect& e : s.effects)
      edges += edges_of(t, s, e);

  std::string out = fmt::format("digraph {} {{{}", quoted(page_name(r)), head);
  const std::string title = fmt::format("{} {}:{} on {} ({})", r.id, r.scenario, r.variant, r.arch, r.model);
  out += fmt::format("  label={};\n", lines_quoted({title, fmt::format("{}: {}", r.property, t.lost), ""}));
  // the initial values on top, and under them the columns in their order
  out += "  init [label=\"initial values\", shape=plaintext, fontcolor=\"gray40\", ordering=out];\n";
  std::string columns;
  for (std::size_t column = 0; column < t.columns.size(); column++) {
    columns += cluster(t, column);
    const auto first =
        std::find_if(t.steps.begin(), t.steps.end(), [&](const trace_step& s) { return s.column == column; });
    if (first != t.steps.end()) out += fmt::format("  init -> {} [style=invis];\n", node_of(first->number));
  }
  out += columns;
  return out + edges + "}\n";
}

} // namespace racewalk::report
