#include "catalogue.h"

namespace racewalk::inline RACEWALK_BACKEND {

const std::vector<scenario>& all_scenarios() {
  static const std::vector<scenario> all{
      gup_fast_vs_munmap(),
      pin_barrier(),
  };
  return all;
}

} // namespace racewalk::inline RACEWALK_BACKEND
