#include "report/result.h"

namespace racewalk::report {

bool result::as_expected() const {
  switch (verdict) {
  case verdict::safe:
    return expected != expectation::violation;
  case verdict::violation:
    return expected == expectation::violation || expected == expectation::unknown;
  case verdict::inconclusive:
    break;
  }
  return true;
}

const char* to_string(verdict v) {
  switch (v) {
  case verdict::safe:
    return "safe";
  case verdict::violation:
    return "violation";
  case verdict::inconclusive:
    break;
  }
  return "inconclusive";
}

const char* to_string(expectation e) {
  switch (e) {
  case expectation::safe:
    return "safe";
  case expectation::violation:
    return "violation";
  case expectation::unknown:
    return "unknown";
  case expectation::none:
    break;
  }
  return "none";
}

} // namespace racewalk::report
