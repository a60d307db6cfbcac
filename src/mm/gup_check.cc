#include "mm/gup_check.h"

#include <string>

#include "mm/pgtable.h"

namespace racewalk::inline RACEWALK_BACKEND {

gup_check::gup_check(Machine& machine) : machine_(machine) { machine_.gup_check = this; }
gup_check::~gup_check() { machine_.gup_check = nullptr; }

namespace {

std::string named(call_site at) { return std::string(at.file) + ':' + std::to_string(at.line); }

/// `got`: what the page was got by, otherwise than it is given back; null: by nothing.
std::string complaint(gup_kind given_back_as, call_site at, const call_site* got) {
  if (given_back_as == gup_kind::reference)
    return "put_page() at " + named(at) + " of a page that is pinned, by the call at " + named(*got);
  const std::string unpin = "unpin_user_page() at " + named(at) + " of a page that nobody has pinned";
  return got == nullptr ? unpin : unpin + ": the call at " + named(*got) + " has got a reference to it";
}

} // namespace

void gup_check::got(pfn_t pfn, gup_kind kind, call_site at) {
  std::lock_guard guard(lock_);
  holders_.emplace(pfn, holder{kind, at});
}

void gup_check::gives_back(pfn_t pfn, gup_kind kind, call_site at) {
  std::lock_guard guard(lock_);
  const auto [first, last] = holders_.equal_range(pfn);
  for (auto i = first; i != last; ++i)
    if (i->second.kind == kind) {
      holders_.erase(i);
      return;
    }
  const bool known = first != last;
  if (known || kind == gup_kind::pin)
    violation("INV-PIN", complaint(kind, at, known ? &first->second.at : nullptr).c_str());
}

void gup_check_got(page* const* pages, u64 nr, gup_kind kind, call_site at) {
  for (u64 i = 0; i < nr; ++i)
    if (!is_zero_page(pages[i])) machine().gup_check->got(page_to_pfn(pages[i]), kind, at); // not counted
}

void gup_check_gives_back(const page* page, gup_kind kind, call_site at) {
  if (!is_zero_page(page)) machine().gup_check->gives_back(page_to_pfn(page), kind, at);
}

} // namespace racewalk::inline RACEWALK_BACKEND
