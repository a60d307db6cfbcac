#include "report/html.h"

#include <fmt/format.h>

#include "report/escape.h"
#include "report/json.h"
#include "report/pages.h"
#include "report/race_table.h"
#include "report/text.h"
#include "report/verdict_grid.h"
#include "report/verdict_table.h"

namespace racewalk::report {
namespace {

using words = std::map<std::string_view, std::string>;

std::string filled_page(std::string_view page, const words& values) {
  return filled(page, [&](std::string_view word) { return values.at(word); });
}

std::string_view class_of(const result& r) {
  if (r.surprises()) return "unexpected";
  if (r.verdict == verdict::inconclusive) return "inconclusive";
  if (r.verdict == verdict::violation) return "violation";
  return r.expected == expectation::unknown ? "open" : "safe";
}

std::string cell_of(const result* r) {
  if (!r) return "<td class=\"none\">&ndash;</td>";
  const std::string says = xml_escaped(cell_words(*r));
  if (!r->trace) return fmt::format("<td class=\"{}\">{}</td>", class_of(*r), says);
  return fmt::format("<td class=\"{}\"><a href=\"{}.html\" title=\"{}\">{}</a></td>", class_of(*r),
                     xml_escaped(page_name(*r)), xml_escaped(r->property), says);
}

std::string title_row(const result& r, const std::map<std::string, std::string>& titles,
                      std::size_t columns) {
  const auto title = titles.find(r.scenario);
  return fmt::format("<tr class=\"title\"><th colspan=\"{}\">{} {} <span>{}</span></th></tr>\n", columns,
                     xml_escaped(r.id), xml_escaped(r.scenario),
                     title == titles.end() ? "" : xml_escaped(title->second));
}

std::string table_of(const verdict_grid& grid, const std::map<std::string, std::string>& titles) {
  std::string out = "<table>\n<thead><tr><th></th>";
  for (const verdict_grid::column& c : grid.columns)
    out += fmt::format("<th>{}<small>{}</small></th>", xml_escaped(c.arch), xml_escaped(c.model));
  out += "<th>executions</th><th>time</th></tr></thead>\n<tbody>\n";
  for (const verdict_grid::row& r : grid.rows) {
    if (r.begins_scenario) out += title_row(*r.first, titles, grid.columns.size() + 3);
    out += fmt::format("<tr><th><span class=\"letter\">{}</span>{}</th>", xml_escaped(r.first->variant_id),
                       xml_escaped(r.first->variant));
    for (const result* cell : r.cells)
      out += cell_of(cell);
    out += fmt::format("<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n", grouped(r.executions),
                       duration(r.seconds));
  }
  return out + "</tbody>\n</table>\n";
}

std::string tables_of(const std::vector<verdict_grid>& grids,
                      const std::map<std::string, std::string>& titles) {
  std::string out;
  for (const verdict_grid& grid : grids)
    out += table_of(grid, titles);
  return out;
}

/// The bounds that were hit: a cell has no room for them.
std::string reasons_of(const std::vector<result>& results) {
  std::string lines;
  for (const result& r : results)
    if (r.verdict == verdict::inconclusive)
      lines += xml_escaped(fmt::format("inconclusive: {}:{} on {}: {}", r.scenario, r.variant, r.arch,
                                       one_line(r.reason))) +
               "<br>\n";
  return lines.empty() ? lines : "<p class=\"reasons\">" + lines + "</p>\n";
}

} // namespace

std::string page_name(const result& r) {
  return file_name_part(fmt::format("{}-{}-{}", r.scenario, r.variant, r.arch));
}

std::string violation_page(const result& r) {
  const std::string name = fmt::format("{}:{}", r.scenario, r.variant);
  return filled_page(player_html, {{"title", xml_escaped(fmt::format("{} on {}", name, r.arch))},
                                   {"style", std::string(page_css)},
                                   {"name", xml_escaped(name)},
                                   {"run", xml_escaped(fmt::format("{} on {} ({})", r.id, r.arch, r.model))},
                                   {"property", xml_escaped(r.property)},
                                   {"lost", xml_escaped(r.trace->lost)},
                                   {"table", xml_escaped(race_table(r, {}))},
                                   {"trace", script_json(trace_json(r))},
                                   {"script", std::string(player_js)}});
}

std::string index_page(const std::vector<result>& results, const std::map<std::string, std::string>& titles,
                       double seconds) {
  return filled_page(index_html, {{"style", std::string(page_css)},
                                  {"summary", xml_escaped(verdict_summary(results, seconds))},
                                  {"tables", tables_of(grids_of(results), titles)},
                                  {"reasons", reasons_of(results)}});
}

} // namespace racewalk::report
