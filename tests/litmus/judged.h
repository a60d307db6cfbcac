// Short cuts from the text of a litmus test to what the judge says of it.
#pragma once

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "litmus/error.h"
#include "litmus/judge.h"
#include "litmus/parser.h"
#include "litmus/report.h"

namespace racewalk::litmus {

/// "Sometimes 1 3", as the Observation line has it.
inline std::string summary(const judgement& j) {
  return observation(j) + " " + std::to_string(j.positive) + " " + std::to_string(j.negative);
}

inline std::string observed(const std::string& text) { return summary(judge(parse(text))); }

inline std::string text_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) throw std::runtime_error("cannot read " + file);
  return text.str();
}

/// "LINE: what is wrong", or what was observed where nothing is.
inline std::string complaint(const std::string& text) {
  try {
    return observed(text);
  } catch (const bad_test& e) {
    return std::to_string(e.line()) + ": " + e.what();
  }
}

} // namespace racewalk::litmus
