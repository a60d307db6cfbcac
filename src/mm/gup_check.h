// Who has got pages by pin_user_pages() and get_user_pages(), so that each is given back as what it is: the
// debug option that mail 5 asks for.
//
// A pin goes by unpin_user_page(), a reference by put_page(). Who takes the one for the other leaves a page
// that looks pinned for ever, or one that is freed under a device. While a gup_check lives for the machine,
// each page that is got is written down with the call that got it. A call that gives back what nobody has got
// that way ends the program and names both calls (INV-PIN).
//
// A page is all that is known of a holder: where one is pinned and referenced at once, a wrong call goes for
// that of the other holder, and the last of them, who finds nothing left, ends the program.
//
// Off unless a gup_check lives for the machine; then a call costs the look whether it does. Natively only:
// the explorer counts pins (PIN-*, INV-REF).
#pragma once

#include <mutex>
#include <unordered_map>

#include "machine/machine.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Where a call stands. (Not std::source_location: clang 14 has none.)
struct call_site {
  const char* file = "";
  unsigned line = 0;

  static constexpr call_site here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

/// What a holder has of a page.
enum class gup_kind : u8 { reference, pin };

/// Has the machine's holders written down while it lives. Made before anything is held, and destroyed when
/// nothing is any more, while no other thread works on the machine.
struct gup_check {
  explicit gup_check(Machine& machine);
  ~gup_check();
  gup_check(const gup_check&) = delete;
  gup_check& operator=(const gup_check&) = delete;

  void got(pfn_t pfn, gup_kind kind, call_site at);
  /// A page that get_user_pages() has never given is none of its business; one that is to be unpinned is.
  void gives_back(pfn_t pfn, gup_kind kind, call_site at);

 private:
  struct holder {
    gup_kind kind;
    call_site at;
  };

  Machine& machine_;
  std::mutex lock_;
  std::unordered_multimap<pfn_t, holder> holders_; ///< under lock_
};

/// Pages have been got, and are about to be given back. Only while gup_checked().
void gup_check_got(page* const* pages, u64 nr, gup_kind kind, call_site at);
void gup_check_gives_back(const page* page, gup_kind kind, call_site at);

inline bool gup_checked() { return machine().gup_check != nullptr; }

} // namespace racewalk::inline RACEWALK_BACKEND
