// libFuzzer's entry to the reader of litmus tests: whatever the bytes are, it returns a test or throws
// bad_test.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "litmus/condition.h"
#include "litmus/error.h"
#include "litmus/parser.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace racewalk::litmus;
  try {
    const litmus_test test = parse({reinterpret_cast<const char*>(data), size});
    static_cast<void>(to_string(test, test.condition));
  } catch (const bad_test&) { // the answer to most inputs
  }
  return 0;
}
