// A program that has the explorer decide something: store buffering, which x86 has and sc has not.
#include "explore/explorer.h"

using namespace racewalk;

int main() {
  word_t x{0};
  word_t y{0};
  u64 a = 1;
  u64 b = 1;
  explore::program sb;
  sb.threads = {[&] {
                  WRITE_ONCE(x, 1);
                  a = READ_ONCE(y);
                },
                [&] {
                  WRITE_ONCE(y, 1);
                  b = READ_ONCE(x);
                }};
  sb.finally = [&] { VM_BUG_ON(a == 0 && b == 0, "SB", "both reads came before both writes"); };
  explore::search_options options;
  options.model = explore::memory_model::tso;
  const bool tso = explore::explorer(sb, options).run().verdict == explore::verdict::violation;
  options.model = explore::memory_model::sc;
  const bool sc = explore::explorer(sb, options).run().verdict == explore::verdict::safe;
  return tso && sc ? 0 : 1;
}
